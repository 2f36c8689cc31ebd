"""What the chart makes of values that depend on each other: each check yields the faults that it finds."""

import json

import yaml

from manifests import NAMESPACE, RELEASE, RenderError, configurations, helm_template, identity

TCP = [{"protocol": "TCP"}]
PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}


def port(*numbers):
    return [{"port": n, "protocol": "TCP"} for n in numbers]


def peer(namespace, labels=None, expressions=None):
    selector = {"matchLabels": labels} if labels else {"matchExpressions": expressions} if expressions else None
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}, **({"podSelector": selector} if selector else {})}


def rendered(*settings):
    more = []
    for setting in settings:
        more += ["--set-json" if setting.partition("=")[2].startswith(("[", '{"')) else "--set", setting]
    return helm_template(more=tuple(more))


def one(objects, kind, name=RELEASE):
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)


def upstream(**address):
    return "config.upstreams=" + json.dumps([{"name": "default", **address}])


# Settings, and the egress rules that come after those for DNS and the API server.
EGRESS = [
    ([], [(peer(NAMESPACE, PROMETHEUS), port(9090))]),
    (["prometheus.namespace=observability"], [(peer("observability", PROMETHEUS), port(9090))]),
    (["prometheus.port=9091"], [(peer(NAMESPACE, PROMETHEUS), port(9091))]),
    # The Service of the chart prometheus-community/prometheus: port 80, and 9090 in the pods.
    (["prometheus.service=prometheus-server", "prometheus.port=80"], [(peer(NAMESPACE), TCP)]),
    (["prometheus.service=prometheus-server", "prometheus.port=80", "networkPolicy.prometheusPorts={9090}", 'prometheus.podLabels={"app": "p"}'],
     [(peer(NAMESPACE, {"app": "p"}), port(9090))]),
    (["kubePrometheusStack.release=kps"], [(peer(NAMESPACE, {**PROMETHEUS, "operator.prometheus.io/name": "kps-kube-prometheus-stack-prometheus"}), port(9090))]),
    (["kubePrometheusStack.release=prometheus"], [(peer(NAMESPACE, {**PROMETHEUS, "operator.prometheus.io/name": "prometheus-kube-prometheus-prometheus"}), port(9090))]),
    (["prometheus.url=http://mimir-nginx.mimir.svc:80/prometheus"], [(peer("mimir"), TCP)]),
    (["prometheus.url=http://mimir-nginx.mimir.svc.cluster.local/prometheus"], [(peer("mimir"), TCP)]),
    (["prometheus.url=http://pod-0.headless.apps.svc:9090", "networkPolicy.prometheusPorts={9090}"], [(peer("apps"), port(9090))]),
    (["prometheus.url=http://prometheus.far:9090"], [(peer("far"), TCP)]),
    (["prometheus.url=http://prometheus:9090"], [(peer(NAMESPACE), TCP)]),
    (["prometheus.url=http://192.0.2.7:9090"], [({"ipBlock": {"cidr": "192.0.2.7/32"}}, port(9090))]),
    (["prometheus.url=http://[2001:db8::7]"], [({"ipBlock": {"cidr": "2001:db8::7/128"}}, port(80))]),
    (["prometheus.url=http://127.0.0.1:9090"], []),
    # Any address is open on the API server's ports.
    (["prometheus.url=https://prometheus.example.com"], []),
    ([upstream(pods={"namespace": "apps", "selector": "app=a, tier in (x,y),!old,env!=test,kept", "port": "web"})],
     [(peer("apps", expressions=[
         {"key": "app", "operator": "In", "values": ["a"]}, {"key": "tier", "operator": "In", "values": ["x", "y"]},
         {"key": "old", "operator": "DoesNotExist"}, {"key": "env", "operator": "NotIn", "values": ["test"]}, {"key": "kept", "operator": "Exists"}]), port("web"))]),
    ([upstream(service={"namespace": "apps", "name": "prometheus-operated", "port": 9090})], [(peer("apps", PROMETHEUS), port(9090))]),
    (["config.tracing.endpoint=http://collector.observability:4318"], [(peer(NAMESPACE, PROMETHEUS), port(9090)), (peer("observability"), TCP)]),
]


def egress_faults():
    for settings, expected in EGRESS:
        rules = one(rendered(*settings), "NetworkPolicy")["spec"]["egress"][2:]
        got = sorted(json.dumps([rule["to"], rule["ports"]], sort_keys=True) for rule in rules)
        if got != sorted(json.dumps([[to], ports], sort_keys=True) for to, ports in expected):
            yield f"{settings}: {rules}"


def stack_faults():
    objects = rendered("kubePrometheusStack.release=kps", "prometheus.namespace=observability", "serviceMonitor.enabled=true",
                       "prometheusRule.enabled=true", "networkPolicy.prometheus.enabled=true")
    (configuration,) = map(yaml.safe_load, configurations(objects).values())
    if configuration["upstreams"][0]["service"] != {"namespace": "observability", "name": "kps-kube-prometheus-stack-prometheus", "port": 9090}:
        yield f"the upstream is {configuration['upstreams']}"
    for kind in ("ServiceMonitor", "PrometheusRule"):
        if one(objects, kind)["metadata"]["labels"].get("release") != "kps":
            yield f"{kind} has no label that the stack looks for"
    scrapers = one(objects, "NetworkPolicy")["spec"]["ingress"][1]["from"]
    if peer("observability") not in scrapers:
        yield f"/metrics is closed to the stack's Prometheus: {scrapers}"
    closed = one(objects, "NetworkPolicy", f"{RELEASE}-prometheus")
    labels = {**PROMETHEUS, "operator.prometheus.io/name": "kps-kube-prometheus-stack-prometheus"}
    if closed["metadata"]["namespace"] != "observability" or closed["spec"]["podSelector"] != {"matchLabels": labels}:
        yield f"closes {closed['metadata']['namespace']} {closed['spec']['podSelector']}"
    own = next(rule for rule in closed["spec"]["ingress"] if {"podSelector": {"matchLabels": labels}} in rule["from"])
    if [p["port"] for p in own["ports"]] != [9090, 8080, 10902]:
        yield f"Prometheus cannot scrape its own pods: {own['ports']}"
    if not any(10901 in [p["port"] for p in rule["ports"]] for rule in closed["spec"]["ingress"]):
        yield "Thanos cannot read the sidecar"


def release_faults():
    """Two of the same name in one cluster, and two of other names in one namespace."""
    second = ("--set", "service.headlampLabel=false", "--set", "flowSchema.enabled=true")
    for release, namespace, more in ((RELEASE, "second", ("--set", "clusterNameOverride=second", "--set", "prometheus.namespace=monitoring")), ("other", NAMESPACE, ())):
        objects = helm_template(release=release, namespace=namespace, more=(*second, *more))
        both = {identity(o) for o in helm_template(more=("--set", "flowSchema.enabled=true"))} & {identity(o) for o in objects}
        if both:
            yield f"{release} in {namespace}: {both} belong to both"
        labelled = [identity(o) for o in objects if "headlamp-prometheus" in o["metadata"].get("labels", {})]
        if labelled:
            yield f"{release} in {namespace}: {labelled} have Headlamp's label too"


def openshift_faults():
    for settings, fixed in (((), True), (("--api-versions", "security.openshift.io/v1"), False), (("--set", "openshift.adaptSecurityContext=force"), False),
                            (("--api-versions", "security.openshift.io/v1", "--set", "openshift.adaptSecurityContext=disabled"), True)):
        for o in helm_template(more=settings):
            spec = o["spec"]["template"]["spec"] if o["kind"] == "Deployment" else o["spec"] if o["kind"] == "Pod" else None
            if spec is None:
                continue
            context = spec["securityContext"]
            if context["runAsNonRoot"] is not True or any((field in context) != fixed for field in ("runAsUser", "runAsGroup", "fsGroup")):
                yield f"{settings}: {identity(o)} has {context}"


def image_faults():
    images = {c["image"] for o in rendered("global.imageRegistry=mirror.example.com/x", "image.registry=other") for c in containers(o)}
    if any(not image.startswith("mirror.example.com/x/") for image in images) or len(images) != 2:
        yield f"the images are {images}"


def containers(o):
    if o["kind"] == "Pod":
        return o["spec"]["containers"]
    return o["spec"]["template"]["spec"]["containers"] if o["kind"] == "Deployment" else []


def label_faults():
    for o in rendered("commonLabels.team=platform", "networkPolicy.prometheus.enabled=true", "flowSchema.enabled=true", "serviceMonitor.enabled=true"):
        if o["metadata"]["labels"].get("team") != "platform":
            yield f"{identity(o)} lacks the common label"
        if "team" in json.dumps(o.get("spec", {})):
            yield f"{identity(o)} selects by the common label"


def misspelled_faults():
    """As an operator would: one key of the configuration, on the command line."""
    try:
        rendered("config.limits.maxRnge=5d")
    except RenderError as error:
        if "maxRnge" not in str(error):
            yield str(error)
        return
    yield "accepted"


CHECKS = [
    ("the NetworkPolicy follows the upstreams", egress_faults),
    ("kubePrometheusStack.release sets all that the stack wants", stack_faults),
    ("two releases share a cluster", release_faults),
    ("no fixed user on OpenShift", openshift_faults),
    ("global.imageRegistry is before every image", image_faults),
    ("commonLabels are on every object and in no selector", label_faults),
    ("a misspelled key of the configuration is refused by its name", misspelled_faults),
]
