"""Runs clients of Prometheus that are written in Python against the proxy: check.py URL TOKEN.

The token may read team-a of the test data and nothing else. Prints nothing when all is as it should be.
"""

import sys
from datetime import datetime, timedelta

from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from prometrix import PrometheusConfig, get_custom_prometheus_connect
from prometrix.exceptions import PrometheusFlagsConnectionError

url, token = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}
hour_ago, now = datetime.now() - timedelta(hours=1), datetime.now()


def only_team_a(series, what):
    assert series, f"{what}: nothing"
    for labels in series:
        assert labels.get("namespace") == "team-a", f"{what}: {labels}"


def prometheus_api_client():
    client = PrometheusConnect(url=url, headers=headers)
    assert client.check_prometheus_connection(), "GET /"
    names = client.all_metrics()
    assert "secret" in names and "phi" not in names, names
    assert client.get_label_values("namespace") == ["team-a"]
    assert "k8s_cluster_name" not in client.get_label_names()
    only_team_a(client.get_series(hour_ago, now, params={"match[]": "secret"}), "series")
    found = client.custom_query("secret")
    only_team_a([one["metric"] for one in found], "query")
    assert [one["value"][1] for one in found] == ["7"], found
    found = client.get_current_metric_value("secret", {"namespace": "team-a"})
    only_team_a([one["metric"] for one in found], "current value")
    found = client.get_metric_range_data("secret", start_time=hour_ago, end_time=now)
    only_team_a([one["metric"] for one in found], "range of values")
    found = client.custom_query_range("secret", hour_ago, now, "60s")
    only_team_a([one["metric"] for one in found], "query_range")
    assert client.get_metric_metadata("") is not None
    assert client.get_targets() is not None
    try:
        client.custom_query('secret{namespace="victim"}')
    except PrometheusApiClientException as error:
        assert "403" in str(error) and "victim" in str(error), error
    else:
        raise AssertionError("another namespace is answered")


def robusta():
    client = get_custom_prometheus_connect(PrometheusConfig(url=url, headers=headers))
    client.check_prometheus_connection()
    found = client.safe_custom_query("secret")["result"]
    only_team_a([one["metric"] for one in found], "query")
    found = client.safe_custom_query_range("secret", hour_ago, now, "5m")["result"]
    only_team_a([one["metric"] for one in found], "query_range")
    only_team_a(client.get_series(["secret"], hour_ago, now), "series")
    assert client.get_label_values("namespace") == ["team-a"]
    try:
        client.get_prometheus_flags()
    except PrometheusFlagsConnectionError as error:
        assert "403" in str(error), error
    else:
        raise AssertionError("the flags are told")


prometheus_api_client()
robusta()
