"""The API of a Kubernetes cluster, as far as the doctor asks it, over https.

The real one needs a cluster. This one asks for a token, knows the paths of the real API that are listed here and no
others, decides by roles and bindings as Kubernetes does (https://kubernetes.io/docs/reference/access-authn-authz/rbac),
for each request as well as for each review, and holds reviews to the models of Kubernetes' own client.
"""

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from delivery_registry import make_certificate
from kubernetes.client import models

NAMESPACE = "ml"
_DSPA = "datasciencepipelinesapplications"
_RIGHTS = ["get", "list", "watch", "create", "update", "patch", "delete"]
#: What the platform's operators make: mlflow-operator, data-science-pipelines-operator, cluster-monitoring-operator.
PLATFORM_ROLES = {
    ("ClusterRole", "", "mlflow-operator-mlflow-integration"): [
        {
            "apiGroups": ["mlflow.kubeflow.org"], "resources": ["datasets", "experiments", "registeredmodels"],
            "verbs": ["get", "list", "create", "update"],
        }
    ],
    ("Role", NAMESPACE, "ds-pipeline-user-access-dspa"): [
        {
            "apiGroups": [f"{_DSPA}.opendatahub.io"], "resources": [f"{_DSPA}/api"], "resourceNames": ["dspa"],
            "verbs": _RIGHTS,
        }
    ],
    ("ClusterRole", "", "cluster-monitoring-view"): [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
        {
            "apiGroups": ["monitoring.coreos.com"], "resources": ["prometheuses/api"], "resourceNames": ["k8s"],
            "verbs": ["get", "create", "update"],
        },
    ],
    # The part of Kubernetes' own roles that matters here, and what every account may do.
    ("ClusterRole", "", "admin"): [
        {"apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets", "serviceaccounts"], "verbs": _RIGHTS},
        {"apiGroups": [f"{_DSPA}.opendatahub.io"], "resources": [_DSPA, f"{_DSPA}/api"], "verbs": _RIGHTS},
        {"apiGroups": ["serving.kserve.io"], "resources": ["servingruntimes"], "verbs": _RIGHTS},
    ],
    ("ClusterRole", "", "system:auth-delegator"): [
        {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]}
    ],
    ("ClusterRole", "", "system:basic-user"): [
        {
            "apiGroups": ["authorization.k8s.io", "authentication.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectreviews"], "verbs": ["create"],
        }
    ],
}  # fmt: skip
_SERVED = {
    "": ["secrets", "serviceaccounts"],
    f"{_DSPA}.opendatahub.io": [_DSPA],
    "serving.kserve.io": ["servingruntimes"],
}


class KubernetesApi(ThreadingHTTPServer):
    """A cluster.

    Attributes:
        users: The user that each token is of.
        roles: Rules by kind, namespace and name.
        bindings: RoleBindings and ClusterRoleBindings as manifests.
        objects: What is there, by API group, resource and name, all of it in ``NAMESPACE``.
        openapi: What is told of the fields of pipeline servers.
        asked: Each request, method and path.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.users = {"token-of-steps": service_account("pipeline-runner-dspa"), "token-of-ana": "ana"}
        self.roles = dict(PLATFORM_ROLES)
        self.bindings = [
            _binding("ClusterRoleBinding", "system:basic-user", {"kind": "Group", "name": "system:authenticated"})
        ]
        self.objects: dict[tuple[str, str, str], dict] = {}
        self.openapi: dict = {}
        self.asked: list[str] = []
        self.put("", "serviceaccounts", "pipeline-runner-dspa")

    def put(self, group: str, resource: str, name: str, **more) -> None:
        """Make an object."""
        self.objects[group, resource, name] = {"metadata": {"name": name, "namespace": NAMESPACE}, **more}

    def bind(self, role: str, user: str, kind: str = "RoleBinding") -> None:
        """Bind a cluster role to a user."""
        self.bindings.append(_binding(kind, role, {"kind": "User", "name": user}))

    def run(self, command: str) -> None:
        """Do what ``oc create rolebinding`` or ``clusterrolebinding`` does; what else is refused."""
        found = re.fullmatch(
            r"oc create (rolebinding|clusterrolebinding) (\S+) --(role|clusterrole)=(\S+) --serviceaccount=(\S+):(\S+?)"
            r"(?: -n (\S+))?",
            command,
        )
        assert found, command
        kind, _, option, role, namespace, account, where = found.groups()
        assert (where == NAMESPACE) == (kind == "rolebinding"), command
        role_kind = {"role": "Role", "clusterrole": "ClusterRole"}[option]
        assert (role_kind, "" if option == "clusterrole" else where, role) in self.roles, command
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        binding = "RoleBinding" if kind == "rolebinding" else "ClusterRoleBinding"
        self.bindings.append(_binding(binding, role, subject, role_kind))

    def allows(self, user: str, groups: list[str], attributes: dict) -> bool:
        """Decide by the roles that are bound."""
        for binding in self.bindings:
            namespace = binding["metadata"].get("namespace", NAMESPACE)
            if binding["kind"] == "RoleBinding" and attributes.get("namespace") != namespace:
                continue
            if not any(_is_subject(subject, user, groups, namespace) for subject in binding["subjects"]):
                continue
            reference = binding["roleRef"]
            role = (reference["kind"], namespace if reference["kind"] == "Role" else "", reference["name"])
            if any(_covers(rule, attributes) for rule in self.roles.get(role, ())):
                return True
        return False


def service_account(name: str) -> str:
    """Return the user of a service account."""
    return f"system:serviceaccount:{NAMESPACE}:{name}"


def groups_of(user: str) -> list[str]:
    """Return the groups that a user is in."""
    groups = ["system:authenticated"]
    return [*groups, "system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}"] if ":" in user else groups


@contextlib.contextmanager
def kubernetes_api(folder: Path, token: str = "token-of-ana") -> Iterator[tuple[KubernetesApi, dict[str, str]]]:
    """Run a cluster; yields it and the environment with which a client finds it."""
    certificate, key = make_certificate(folder / "api.pem")
    server = KubernetesApi()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server, {"KUBECONFIG": str(write_kubeconfig(folder, server, token, certificate))}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_kubeconfig(folder: Path, server: KubernetesApi, token: str, certificate: Path) -> Path:
    """Write a kubeconfig as ``oc login`` does."""
    cluster = {"server": f"https://127.0.0.1:{server.server_address[1]}", "certificate-authority": str(certificate)}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _binding(kind: str, role: str, subject: dict, role_kind: str = "ClusterRole") -> dict:
    metadata = {"name": role} | ({"namespace": NAMESPACE} if kind == "RoleBinding" else {})
    return {"kind": kind, "metadata": metadata, "roleRef": {"kind": role_kind, "name": role}, "subjects": [subject]}


def _is_subject(subject: dict, user: str, groups: list[str], namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user == f"system:serviceaccount:{subject.get('namespace', namespace)}:{subject['name']}"
    return subject["name"] == user if subject["kind"] == "User" else subject["name"] in groups


def _covers(rule: dict, wanted: dict) -> bool:
    resource = wanted["resource"] + (f"/{wanted['subresource']}" if wanted.get("subresource") else "")
    named = "resourceNames" not in rule or wanted.get("name") in rule["resourceNames"]
    fits = [
        (rule["verbs"], wanted["verb"]),
        (rule["apiGroups"], wanted.get("group", "")),
        (rule["resources"], resource),
    ]
    return named and all(word in words or "*" in words for words, word in fits)


class _Handler(BaseHTTPRequestHandler):
    server: KubernetesApi

    def do_GET(self):
        self._serve(self._read)

    def do_POST(self):
        self._serve(self._review)

    def _serve(self, act):
        self.path = urlsplit(self.path).path
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.user = self.server.users.get((self.headers.get("Authorization") or "").partition(" ")[2])
        if self.user is None:
            return self._fail(401)
        return act(json.loads(body or "{}"))

    def _read(self, _):
        if self.path == "/version":
            return self._answer({"major": "1", "minor": "32", "gitVersion": "v1.32.6"})
        if self.path == f"/openapi/v3/apis/{_DSPA}.opendatahub.io/v1" and self.server.openapi:
            return self._answer(self.server.openapi)
        found = re.fullmatch(r"/(?:api|apis/([^/]+))/(v\w+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?", self.path)
        group, _, namespace, resource, name = found.groups() if found else ("?",) * 5
        group = group or ""
        if resource not in _SERVED.get(group, ()):
            return self._fail(404)
        wanted = {"verb": "get" if name else "list", "group": group, "resource": resource, "namespace": namespace}
        if not self._allowed(wanted | ({"name": name} if name else {})):
            return self._fail(403)
        if name is None:
            items = [o for (g, r, _), o in self.server.objects.items() if (g, r) == (group, resource)]
            return self._answer({"kind": "List", "items": items if namespace == NAMESPACE else []})
        item = self.server.objects.get((group, resource, name)) if namespace == NAMESPACE else None
        return self._answer(item) if item else self._fail(404)

    def _review(self, body: dict):
        local = re.fullmatch(r"/apis/authorization.k8s.io/v1/namespaces/([^/]+)/localsubjectaccessreviews", self.path)
        kinds = {
            "/apis/authentication.k8s.io/v1/selfsubjectreviews": "SelfSubjectReview",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "SelfSubjectAccessReview",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews": "SubjectAccessReview",
        }
        kind = "LocalSubjectAccessReview" if local else kinds.get(self.path)
        if kind is None:
            return self._fail(404)
        group, resource = self.path.split("/")[2], self.path.rsplit("/", 1)[1]
        wanted = {"verb": "create", "group": group, "resource": resource} | ({"namespace": local[1]} if local else {})
        if not self._allowed(wanted):
            return self._fail(403)
        _check(body, getattr(models, f"V1{kind}"))
        if kind == "SelfSubjectReview":
            return self._answer({"status": {"userInfo": {"username": self.user, "groups": groups_of(self.user)}}}, 201)
        spec = body["spec"]
        attributes = spec["resourceAttributes"]
        if local and attributes.get("namespace") != local[1]:
            return self._fail(422)
        user, groups = spec.get("user"), spec.get("groups", [])
        if kind == "SelfSubjectAccessReview":
            user, groups = self.user, groups_of(self.user)
        allowed = self.server.allows(user, groups, attributes)
        return self._answer(body | {"status": {"allowed": allowed}}, 201)

    def _allowed(self, wanted: dict) -> bool:
        return self.server.allows(self.user, groups_of(self.user), wanted)

    def _fail(self, status: int):
        self._answer(
            {"kind": "Status", "status": "Failure", "code": status, "message": f"{self.path}: {status}"}, status
        )

    def _answer(self, value: dict, status: int = 200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def _check(body: object, kind: type) -> None:
    """Raise unless a body has only fields of a model, as the real API does when it is told to be strict."""
    fields = {name: kind.openapi_types[attribute] for attribute, name in kind.attribute_map.items()}
    for name, value in body.items():
        assert name in fields, f"unknown field {name!r} of {kind.__name__}"
        if fields[name].startswith("V1"):
            _check(value, getattr(models, fields[name]))
