{{/* What the chart knows about Prometheus: where it is, and which pods are behind it. */}}

{{- define "prom-rbac-proxy.prometheusNamespace" -}}
{{- .Values.prometheus.namespace | default (include "prom-rbac-proxy.namespace" .) }}
{{- end }}

{{/* How kube-prometheus-stack names its objects; empty without its release. */}}
{{- define "prom-rbac-proxy.stackName" -}}
{{- with .Values.kubePrometheusStack }}
{{- if .fullname }}
{{- .fullname | trunc 26 | trimSuffix "-" }}
{{- else if contains "kube-prometheus-stack" .release }}
{{- .release | trunc 26 | trimSuffix "-" }}
{{- else if .release }}
{{- printf "%s-kube-prometheus-stack" .release | trunc 26 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "prom-rbac-proxy.prometheusService" -}}
{{- $stack := include "prom-rbac-proxy.stackName" . }}
{{- .Values.prometheus.service | default (ternary (printf "%s-prometheus" $stack) "prometheus-operated" (ne $stack "")) }}
{{- end }}

{{/* True where the Prometheus operator made the pods: their labels and ports are known then. */}}
{{- define "prom-rbac-proxy.operated" -}}
{{- $service := include "prom-rbac-proxy.prometheusService" . }}
{{- if or (include "prom-rbac-proxy.stackName" .) (and (eq $service "prometheus-operated") (not .Values.prometheus.url) (not .Values.config.upstreams)) }}true{{- end }}
{{- end }}

{{/* The labels of the Prometheus pods, as YAML; empty where nobody told. */}}
{{- define "prom-rbac-proxy.prometheusLabels" -}}
{{- $stack := include "prom-rbac-proxy.stackName" . }}
{{- if .Values.prometheus.podLabels }}
{{- toYaml .Values.prometheus.podLabels }}
{{- else if $stack -}}
app.kubernetes.io/name: prometheus
operator.prometheus.io/name: {{ $stack }}-prometheus
{{- else if include "prom-rbac-proxy.operated" . -}}
app.kubernetes.io/name: prometheus
{{- end }}
{{- end }}

{{/* What the stack's selectors for ServiceMonitor and PrometheusRule look for. */}}
{{- define "prom-rbac-proxy.stackLabels" -}}
{{- with .Values.kubePrometheusStack.release }}
release: {{ . }}
{{- end }}
{{- end }}

{{/* The upstreams in effect, as {"upstreams": [...]}: the caller reads it with fromYaml. */}}
{{- define "prom-rbac-proxy.upstreams" -}}
{{- if .Values.config.upstreams -}}
upstreams: {{ .Values.config.upstreams | toYaml | nindent 2 }}
{{- else -}}
upstreams:
  - name: default
    pathPrefix: /
    {{- if .Values.prometheus.url }}
    url: {{ .Values.prometheus.url | quote }}
    {{- else }}
    service:
      namespace: {{ include "prom-rbac-proxy.prometheusNamespace" . }}
      name: {{ include "prom-rbac-proxy.prometheusService" . }}
      port: {{ .Values.prometheus.port }}
    {{- end }}
{{- end }}
{{- end }}
