"""The lab's Google: Compute Engine as far as cloudnet uses it. How we know it: docs/design/lab-google.md."""
