"""The practice cluster: a Kubernetes API server, controllers and a kubelet in one process."""
