"""BGP by BIRD: whom this node speaks with, what it tells them, and what BIRD is told to that end."""
