"""Who is where on the node's network, which leads nowhere else."""

NODE = "10.77.0.2"
GATEWAY_OF_THE_NODE = "10.77.0.1"
PODS = "10.244.0.0/16"
PODS_OF_THE_NODE = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
API_SERVER = "10.96.0.1"
NAMES = "10.96.0.10"
DOMAIN = "cluster.local"
API_PORT = 6443
PUBLIC_HOST = "postrider.staging.example.com"
# Addresses as the internet has them: neither the guard of the workers nor a network policy has an exception for them.
RECEIVERS = ("25.1.0.1", "25.1.0.2", "25.1.0.3", "25.1.0.4")
# Where github.com and api.github.com are.
GITHUB = "25.2.0.1"
