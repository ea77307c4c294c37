"""Native pod addresses: how many a node needs, where the cloud can give them, what goes back. Decides, never acts."""
