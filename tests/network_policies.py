"""Whether NetworkPolicies let one pod talk to another, as Kubernetes decides.

A cluster's network decides it for real; this is https://kubernetes.io/docs/concepts/services-networking/network-policies:
a pod that no policy of a direction selects is open in it, and of several policies what one allows is allowed.
"""

import ipaddress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """A pod, or something outside of the cluster.

    Attributes:
        labels: The pod's labels.
        namespace: Its namespace; empty for an address outside.
        namespace_labels: More labels of the namespace.
        address: The address of what is outside.
    """

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = ""
    namespace_labels: dict[str, str] = field(default_factory=dict)
    address: str = ""


def allowed(policies: list[dict], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Return whether a connection is let out by the source's namespace and in by the target's."""
    for direction, own, other, key in (("Egress", source, target, "to"), ("Ingress", target, source, "from")):
        chosen = [p for p in policies if _selects(p, own) and direction in p["spec"]["policyTypes"]]
        rules = [rule for p in chosen for rule in p["spec"].get(direction.lower(), [])]
        open_to = [rule for rule in rules if _peer_fits(rule.get(key), own, other)]
        if chosen and not any(_port_fits(rule.get("ports"), port, protocol) for rule in open_to):
            return False
    return True


def _selects(policy: dict, pod: Peer) -> bool:
    return pod.namespace == policy["metadata"]["namespace"] and _matches(policy["spec"]["podSelector"], pod.labels)


def _peer_fits(peers: list[dict] | None, own: Peer, other: Peer) -> bool:
    return peers is None or any(_fits(peer, own, other) for peer in peers)


def _fits(peer: dict, own: Peer, other: Peer) -> bool:
    if block := peer.get("ipBlock"):
        address = ipaddress.ip_address(other.address) if other.address else None
        inside = [ipaddress.ip_network(block["cidr"]), *map(ipaddress.ip_network, block.get("except", []))]
        return address is not None and address in inside[0] and not any(address in net for net in inside[1:])
    if not other.namespace:
        return False
    labels = {"kubernetes.io/metadata.name": other.namespace, **other.namespace_labels}
    if "namespaceSelector" in peer:
        return _matches(peer["namespaceSelector"], labels) and _matches(peer.get("podSelector", {}), other.labels)
    return own.namespace == other.namespace and _matches(peer["podSelector"], other.labels)


def _matches(selector: dict, labels: dict[str, str]) -> bool:
    known = {"matchLabels", "matchExpressions"}
    assert set(selector) <= known, selector
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", expression
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def _port_fits(ports: list[dict] | None, port: int, protocol: str) -> bool:
    return ports is None or any((p["port"], p.get("protocol", "TCP")) == (port, protocol) for p in ports)
