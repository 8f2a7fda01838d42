"""The shop as Kubernetes objects: what `lab up` puts into the fresh cluster."""

import base64

from smoldebug.sources.world import Object

SHOP, MONITORING = "shop", "monitoring"
PORT = 8080


def namespaces(*, shop: bool) -> list[Object]:
    names = ["default", "kube-system", "kube-public", MONITORING, *([SHOP] if shop else [])]
    return [
        {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
        for name in names
    ]


def config() -> list[tuple[str, Object]]:
    """The shop's Secret and ConfigMap, each with the name of its resource."""
    key = base64.b64encode(b"practice-only").decode()
    return [
        ("secrets", {"metadata": {"name": "auth-signing"}, "data": {"key": key}}),
        (
            "configmaps",
            {
                "metadata": {"name": "shop-settings"},
                "data": {"auth-url": "http://auth.shop.svc:8080"},
            },
        ),
    ]


def deployments() -> list[Object]:
    return [
        _deployment(
            "auth",
            "shop/auth:1.4.2",
            1,
            [
                {"name": "WORKERS", "value": "4"},
                {"name": "SERVICE_MS", "value": "180"},
                {
                    "name": "SIGNING_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "auth-signing", "key": "key"}},
                },
            ],
        ),
        _deployment(
            "checkout",
            "shop/checkout:2.3.0",
            2,
            [
                {
                    "name": "AUTH_URL",
                    "valueFrom": {"configMapKeyRef": {"name": "shop-settings", "key": "auth-url"}},
                },
            ],
        ),
        _deployment("catalog", "shop/catalog:1.9.1", 1, []),
        _deployment("web", "shop/web:3.0.4", 1, []),
    ]


def services() -> list[Object]:
    return [_service(d["metadata"]["name"]) for d in deployments()]


def _deployment(name: str, image: str, replicas: int, env: list[Object]) -> Object:
    container = {
        "name": name,
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": env,
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2},
        "livenessProbe": {
            "httpGet": {"path": "/ready", "port": "http"},
            "periodSeconds": 10,
            "timeoutSeconds": 3,
        },
        "resources": {
            "requests": {"cpu": "50m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
    }
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 60,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    }


def _service(name: str) -> Object:
    return {
        "metadata": {
            "name": name,
            "labels": {"app": name},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT)},
        },
        "spec": {
            "selector": {"app": name},
            "ports": [{"name": "http", "port": PORT, "targetPort": "http"}],
        },
    }


def prometheus(host: str, port: int) -> list[tuple[str, Object]]:
    """Prometheus has no pod: its Service and endpoints are written by hand."""
    name, ports = {"name": "prometheus"}, [{"name": "http", "port": port, "protocol": "TCP"}]
    labels = {"kubernetes.io/service-name": "prometheus"}
    return [
        ("services", {"metadata": name, "spec": {"ports": [{"name": "http", "port": 9090}]}}),
        (
            "endpoints",
            {"metadata": name, "subsets": [{"addresses": [{"ip": host}], "ports": ports}]},
        ),
        (
            "endpointslices",
            {
                "metadata": {**name, "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
                "ports": ports,
            },
        ),
    ]
