"""What a cluster is given to run cloudnet: pure builders of Kubernetes objects, as plain documents."""
