"""What must hold of the rendered objects whatever the values: each function yields the faults that it finds."""

import yaml

from manifests import identity, is_hook

AUTODETECT = "headlamp-prometheus"
RBAC = ("rolebindings", "clusterrolebindings", "roles", "clusterroles")
# Every right that the proxy's own account may have anywhere.
OWN_RIGHTS = {
    ("authentication.k8s.io", "tokenreviews", "create"),
    ("authorization.k8s.io", "subjectaccessreviews", "create"),
    ("", "namespaces", "list"),
    ("", "namespaces", "watch"),
    ("discovery.k8s.io", "endpointslices", "list"),
    ("discovery.k8s.io", "endpointslices", "watch"),
    ("", "pods", "list"),
    ("", "pods", "watch"),
    *(("rbac.authorization.k8s.io", resource, verb) for resource in RBAC for verb in ("list", "watch")),
}
# Every right of the account of `doctor`, all in the whole cluster: what docs/doctor.md says that it reads.
DOCTOR_RIGHTS = {
    *(("", resource, "list") for resource in ("services", "pods", "namespaces")),
    ("networking.k8s.io", "networkpolicies", "list"),
    *(("rbac.authorization.k8s.io", resource, "list") for resource in RBAC),
}
CLUSTER_WIDE_RIGHTS = {r for r in OWN_RIGHTS if r[1] in ("tokenreviews", "subjectaccessreviews", "namespaces", *RBAC)}


def all_faults(rendered):
    for check in (
        unique_names,
        one_autodetected_service,
        own_rights,
        doctors_rights,
        rbac_is_seen_where_it_is_watched,
        proxy_rights_name_one_service,
        k09_nothing_else_through_the_api_server,
        selectors_meet_pods,
        restricted_pods,
        listeners_meet_ports,
        drain_fits,
    ):
        for fault in check(rendered):
            yield f"{check.__name__}: {fault}"


def of_kind(rendered, kind):
    return [o for o in rendered if o["kind"] == kind and not is_hook(o)]


def pod_templates(rendered):
    for o in of_kind(rendered, "Deployment"):
        yield o["metadata"]["name"], o["spec"]["template"]["metadata"].get("labels", {}), o["spec"]["template"]["spec"]
    for o in rendered:
        if o["kind"] == "Pod":
            yield o["metadata"]["name"], o["metadata"].get("labels", {}), o["spec"]
        if o["kind"] in ("Job", "CronJob"):
            template = (o["spec"]["jobTemplate"] if o["kind"] == "CronJob" else o)["spec"]["template"]
            yield o["metadata"]["name"], template["metadata"].get("labels", {}), template["spec"]


def unique_names(rendered):
    seen = set()
    for o in rendered:
        if identity(o) in seen:
            yield f"{identity(o)} twice"
        seen.add(identity(o))


def one_autodetected_service(rendered):
    labelled = [o for o in rendered if AUTODETECT in o["metadata"].get("labels", {})]
    tls = any("tls" in c.get("listeners", {}).get("service", {}) for c in _configurations(rendered))
    if len(labelled) != (0 if tls else 1) or any(o["kind"] != "Service" for o in labelled):
        yield f"the label is on {[identity(o) for o in labelled]}"
    for o in labelled:
        ports = [p for p in o["spec"]["ports"] if p.get("protocol") == "TCP"]
        if len(ports) != 1 or len(o["spec"]["ports"]) != 1:
            yield f"{identity(o)} has {len(o['spec']['ports'])} ports, {len(ports)} of them plainly TCP"
    for name, labels, _ in pod_templates(rendered):
        if AUTODETECT in labels:
            yield f"the pods of {name} carry it"


def rights(role):
    for rule in role.get("rules", []):
        for group in rule.get("apiGroups", []):
            for resource in rule.get("resources", []):
                for verb in rule.get("verbs", []):
                    yield group, resource, verb


def bindings(rendered):
    """Pairs of binding and role, for the roles that are among the objects."""
    roles = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for k in ("Role", "ClusterRole") for o in of_kind(rendered, k)}
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in of_kind(rendered, kind):
            reference = binding["roleRef"]
            namespace = binding["metadata"].get("namespace", "") if reference["kind"] == "Role" else ""
            yield binding, roles.get((reference["kind"], namespace, reference["name"]))


def own_rights(rendered):
    accounts = {o["spec"]["template"]["spec"]["serviceAccountName"] for o in of_kind(rendered, "Deployment")}
    for binding, role in bindings(rendered):
        if role is None:
            yield f"{identity(binding)} refers to a role that is not rendered"
            continue
        if not any(s["kind"] == "ServiceAccount" and s["name"] in accounts for s in binding["subjects"]):
            continue
        allowed = CLUSTER_WIDE_RIGHTS if binding["kind"] == "ClusterRoleBinding" else OWN_RIGHTS
        for right in rights(role):
            if right not in allowed:
                yield f"{identity(role)} grants {right}"


def doctors_rights(rendered):
    accounts = {s["serviceAccountName"] for name, _, s in pod_templates(rendered) if any(c["name"] == "doctor" for c in s["containers"])}
    own = {o["spec"]["template"]["spec"]["serviceAccountName"] for o in of_kind(rendered, "Deployment")}
    for name, labels, spec in pod_templates(rendered):
        for service in of_kind(rendered, "Service") if spec["containers"][0]["name"] == "doctor" else []:
            if service["spec"]["selector"].items() <= labels.items():
                yield f"{identity(service)} leads to {name}"
    if accounts & own:
        yield "it runs with the proxy's account"
    for account in accounts:
        bound = [(b, r) for b, r in bindings(rendered) if any(s["kind"] == "ServiceAccount" and s["name"] == account for s in b["subjects"])]
        granted = {right for _, role in bound if role for right in rights(role)}
        if granted != DOCTOR_RIGHTS or any(b["kind"] != "ClusterRoleBinding" for b, _ in bound):
            yield f"{account} has {sorted(granted ^ DOCTOR_RIGHTS)} too much or too little"


def watched_rbac(rendered):
    """What of RBAC the configuration, or the environment, makes the proxy watch."""
    containers = [c for _, _, spec in pod_templates(rendered) for c in spec["containers"]]
    environment = {e["name"]: e.get("value") for c in containers for e in c.get("env", [])}
    for configuration in _configurations(rendered):
        authorization = configuration.get("authorization", {})
        changes = environment.get("PROM_RBAC_PROXY_AUTHORIZATION__CHANGES", authorization.get("changes", "ttl"))
        namespaces = environment.get("PROM_RBAC_PROXY_AUTHORIZATION__NAMESPACES", authorization.get("namespaces", "all"))
        return set(RBAC) if changes == "watch" else {"rolebindings"} if namespaces == "bindings" else set()
    return set()


def rbac_is_seen_where_it_is_watched(rendered):
    wanted = {("rbac.authorization.k8s.io", resource, verb) for resource in watched_rbac(rendered) for verb in ("list", "watch")}
    bound = [role for binding, role in bindings(rendered) if role and binding["kind"] == "ClusterRoleBinding" and "-doctor" not in binding["metadata"]["name"]]
    granted = {r for role in bound for r in rights(role) if r[0] == "rbac.authorization.k8s.io"}
    if of_kind(rendered, "Deployment") and granted != wanted:
        yield f"granted {sorted(granted)}, watched {sorted(wanted)}"


def proxy_rights_name_one_service(rendered):
    names = [f"{o['metadata']['name']}:{p['port']}" for o in of_kind(rendered, "Service") if AUTODETECT in o["metadata"].get("labels", {}) for p in o["spec"]["ports"]]
    for kind in ("Role", "ClusterRole"):
        for role in of_kind(rendered, kind):
            for rule in role.get("rules", []):
                words = [w for field in ("apiGroups", "resources", "verbs") for w in rule.get(field, [])]
                if "*" in words or "nonResourceURLs" in rule:
                    yield f"{identity(role)} has a wildcard or a URL"
                if not any(r.endswith("/proxy") for r in rule.get("resources", [])):
                    continue
                if kind != "Role" or rule["resources"] != ["services/proxy"] or rule["verbs"] != ["get"] or rule.get("resourceNames") != names:
                    yield f"{identity(role)}: {rule}, expected get on services/proxy of {names} alone"


def allows(rendered, group, verb, resource, name, namespace):
    """RBAC's own decision for a member of one group, from the rendered roles."""
    for binding, role in bindings(rendered):
        if role is None or not any(s["kind"] == "Group" and s["name"] == group for s in binding["subjects"]):
            continue
        if binding["kind"] == "RoleBinding" and binding["metadata"]["namespace"] != namespace:
            continue
        for rule in role["rules"]:
            if "" in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"]:
                if not rule.get("resourceNames") or name in rule["resourceNames"]:
                    return True
    return False


def k09_nothing_else_through_the_api_server(rendered):
    for service in of_kind(rendered, "Service"):
        if AUTODETECT not in service["metadata"].get("labels", {}):
            continue
        name, namespace, port = service["metadata"]["name"], service["metadata"]["namespace"], service["spec"]["ports"][0]["port"]
        closed = [
            ("get", "services/proxy", f"http:{name}:{port}"),
            ("get", "services/proxy", f"https:{name}:{port}"),
            ("get", "services/proxy", name),
            ("get", "services/proxy", f"{name}:9091"),
            ("get", "services/proxy", f"{name}-metrics:9091"),
            ("get", "services/proxy", "prometheus-operated:9090"),
            ("get", "services/proxy", "prometheus:9090"),
            ("create", "services/proxy", f"{name}:{port}"),
            ("get", "pods/proxy", f"{name}-0:{port}"),
            ("create", "pods/portforward", f"{name}-0"),
            ("get", "services", name),
        ]
        for verb, resource, target in closed:
            if allows(rendered, "system:authenticated", verb, resource, target, namespace):
                yield f"system:authenticated may {verb} {resource} {target}"
        if allows(rendered, "system:authenticated", "get", "services/proxy", f"{name}:{port}", "default"):
            yield "the access Role counts outside its namespace"


def selectors_meet_pods(rendered):
    for deployment in of_kind(rendered, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        ports = {p["name"] for c in deployment["spec"]["template"]["spec"]["containers"] for p in c["ports"]}
        selectors = [(identity(deployment), deployment["spec"]["selector"]["matchLabels"])]
        for service in of_kind(rendered, "Service"):
            selectors.append((identity(service), service["spec"]["selector"]))
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    yield f"{identity(service)} targets port {port['targetPort']}, the pods have {sorted(ports)}"
        selectors += [(identity(o), o["spec"]["selector"]["matchLabels"]) for o in of_kind(rendered, "PodDisruptionBudget")]
        selectors += [(identity(o), o["spec"]["podSelector"]["matchLabels"]) for o in of_kind(rendered, "NetworkPolicy") if "Egress" in o["spec"]["policyTypes"]]
        for owner, selector in selectors:
            if not selector or not selector.items() <= labels.items():
                yield f"{owner} selects {selector}, the pods are {labels}"
    for monitor in of_kind(rendered, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        found = [o for o in of_kind(rendered, "Service") if wanted.items() <= o["metadata"]["labels"].items()]
        names = {p["name"] for o in found for p in o["spec"]["ports"]}
        if len(found) != 1 or monitor["spec"]["endpoints"][0]["port"] not in names:
            yield f"{identity(monitor)} selects {[identity(o) for o in found]}"
    for route in of_kind(rendered, "Ingress") + of_kind(rendered, "HTTPRoute"):
        services = {(o["metadata"]["name"], p["port"]) for o in of_kind(rendered, "Service") for p in o["spec"]["ports"]}
        for name, port in _backends(route):
            if (name, port) not in services:
                yield f"{identity(route)} leads to {name}:{port}"


def _backends(route):
    for rule in route["spec"]["rules"]:
        for path in rule.get("http", {}).get("paths", []):
            yield path["backend"]["service"]["name"], path["backend"]["service"]["port"]["number"]
        for backend in rule.get("backendRefs", []):
            yield backend["name"], backend["port"]


def restricted_pods(rendered):
    """The Pod Security Standard `restricted`, and a root file system that cannot be written."""
    for name, _, spec in pod_templates(rendered):
        pod = spec.get("securityContext", {})
        if spec.get("hostNetwork") or spec.get("hostPID") or spec.get("hostIPC"):
            yield f"{name} shares the host's namespaces"
        if any("hostPath" in v for v in spec.get("volumes", [])):
            yield f"{name} mounts the host's files"
        for container in spec.get("initContainers", []) + spec["containers"]:
            own = container.get("securityContext", {})
            merged = {**pod, **own}
            if merged.get("runAsNonRoot") is not True or not merged.get("runAsUser"):
                yield f"{name}/{container['name']} may run as root"
            if merged.get("seccompProfile", {}).get("type") != "RuntimeDefault":
                yield f"{name}/{container['name']} has no seccomp profile"
            if own.get("allowPrivilegeEscalation") is not False or own.get("readOnlyRootFilesystem") is not True or own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
                yield f"{name}/{container['name']} can gain rights or write its root file system"


def _configurations(rendered):
    return [yaml.safe_load(o["data"]["config.yaml"]) for o in of_kind(rendered, "ConfigMap") if "config.yaml" in o.get("data", {})]


def listeners_meet_ports(rendered):
    for deployment in of_kind(rendered, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        container = spec["containers"][0]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        if spec.get("enableServiceLinks") is not False:
            yield "service links would set the configuration's override variables"
        for configuration in _configurations(rendered):
            listeners = {{"service": "http"}.get(name, name): listener for name, listener in configuration["listeners"].items()}
            listening = {name: int(listener["address"].rsplit(":", 1)[1]) for name, listener in listeners.items()}
            if listening != ports:
                yield f"the configuration listens on {listening}, the container names {ports}"
            for name, listener in listeners.items():
                for file in listener.get("tls", {}).values():
                    if not file.startswith(mounts.get("tls", "\0") + "/"):
                        yield f"listener {name} reads {file}, mounted are {mounts}"
        for policy in of_kind(rendered, "NetworkPolicy"):
            if "Egress" in policy["spec"]["policyTypes"]:
                open_ports = {p["port"] for rule in policy["spec"]["ingress"] for p in rule["ports"]}
                if open_ports != set(ports.values()):
                    yield f"{identity(policy)} opens {sorted(open_ports)}, the container listens on {ports}"


def drain_fits(rendered):
    for deployment in of_kind(rendered, "Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        if spec["terminationGracePeriodSeconds"] <= 30:
            yield "the pod is killed before its drain of 30 s ends"
        if any("lifecycle" in c for c in spec["containers"]):
            yield "a lifecycle hook: the program drains by itself, and its image has no shell"
