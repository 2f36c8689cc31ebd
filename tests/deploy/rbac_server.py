"""An API server that answers access reviews from rendered roles and bindings, for kubectl to ask.

It knows discovery, SelfSubjectAccessReview (as kubectl auth can-i sends it, impersonated, in protobuf) and
SubjectAccessReview in JSON. It stores nothing and authenticates nobody.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Group and version: resource, kind, whether it is in a namespace.
RESOURCES = {
    "v1": [
        ("pods", "Pod", True),
        ("pods/proxy", "PodProxyOptions", True),
        ("services", "Service", True),
        ("services/proxy", "ServiceProxyOptions", True),
        ("namespaces", "Namespace", False),
    ],
    "authentication.k8s.io/v1": [("tokenreviews", "TokenReview", False)],
    "authorization.k8s.io/v1": [
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
    ],
    "discovery.k8s.io/v1": [("endpointslices", "EndpointSlice", True)],
}
METRICS = {"metrics.k8s.io/v1beta1": [("pods", "PodMetrics", True), ("nodes", "NodeMetrics", False)]}
SELF_FIELDS = {1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name"}


def allowed(objects, user, groups, attributes):
    """RBAC's decision. ClusterRoles labelled aggregate-to-view are part of the ClusterRole `view`."""
    roles = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o["rules"] for o in objects if o["kind"] in ("Role", "ClusterRole")}
    label = "rbac.authorization.k8s.io/aggregate-to-view"
    view = [r for o in objects if o["kind"] == "ClusterRole" and o["metadata"].get("labels", {}).get(label) == "true" for r in o["rules"]]
    roles["ClusterRole", "", "view"] = view
    resource = attributes.get("resource", "") + ("/" + attributes["subresource"] if attributes.get("subresource") else "")
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        namespace = binding["metadata"].get("namespace", "")
        if binding["kind"] == "RoleBinding" and namespace != attributes.get("namespace", ""):
            continue
        if not any(_is(s, user, groups) for s in binding["subjects"]):
            continue
        reference = binding["roleRef"]
        for rule in roles[reference["kind"], namespace if reference["kind"] == "Role" else "", reference["name"]]:
            if (
                attributes.get("verb") in rule["verbs"]
                and attributes.get("group", "") in rule["apiGroups"]
                and resource in rule["resources"]
                and (not rule.get("resourceNames") or attributes.get("name", "") in rule["resourceNames"])
            ):
                return True
    return False


def _is(subject, user, groups):
    if subject["kind"] == "ServiceAccount":
        return user == f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    return subject["name"] in groups if subject["kind"] == "Group" else subject["name"] == user


def _fields(message):
    """The length-delimited fields of a protobuf message, by number."""
    at, found = 0, {}

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 != 2:
            varint()
            continue
        length = varint()
        found[key >> 3] = message[at : at + length]
        at += length
    return found


def _self_attributes(body):
    if body.startswith(b"k8s\0"):
        # The envelope's field 2 is the review, whose field 2 is the spec, whose field 1 is the resource's attributes.
        attributes = _fields(_fields(_fields(_fields(body[4:])[2])[2])[1])
        return {name: attributes[n].decode() for n, name in SELF_FIELDS.items() if attributes.get(n)}
    return json.loads(body)["spec"]["resourceAttributes"]


class Server:
    """Serves on a free loopback port while it is entered; `url` is its address."""

    def __init__(self, objects, metrics_server):
        resources = {**RESOURCES, **(METRICS if metrics_server else {})}

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, value, status=200):
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                path = self.path.split("?")[0].strip("/")
                if path == "api":
                    return self.answer({"kind": "APIVersions", "versions": ["v1"]})
                if path == "apis":
                    groups = [{"name": g.split("/")[0], "versions": [{"groupVersion": g, "version": g.split("/")[1]}], "preferredVersion": {"groupVersion": g, "version": g.split("/")[1]}} for g in resources if "/" in g]
                    return self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
                version = path.removeprefix("apis/").removeprefix("api/")
                if version in resources:
                    listed = [{"name": n, "singularName": "", "namespaced": s, "kind": k, "verbs": ["get", "create", "list"]} for n, k, s in resources[version]]
                    return self.answer({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed})
                return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, 404)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.split("?")[0].endswith("/selfsubjectaccessreviews"):
                    user = self.headers.get("Impersonate-User", "")
                    groups = (self.headers.get_all("Impersonate-Group") or []) + ["system:authenticated"]
                    review = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {}}
                    attributes = _self_attributes(body)
                else:
                    review = json.loads(body)
                    user, groups = review["spec"].get("user", ""), review["spec"].get("groups", [])
                    attributes = review["spec"]["resourceAttributes"]
                review["status"] = {"allowed": allowed(objects, user, groups, attributes)}
                self.answer(review, 201)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
