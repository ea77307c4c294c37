"""The lab's Azure: Resource Manager with the calls that the plugin makes, and what they mean for packets."""
