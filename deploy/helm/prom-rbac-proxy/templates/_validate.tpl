{{/* What the values' schema cannot say, because it is between two values. Renders nothing. */}}
{{- define "prom-rbac-proxy.validate" -}}
{{- if and .Values.service.tls (or .Values.ingress.enabled .Values.httpRoute.enabled) }}
{{- fail "service.tls: the ingress door speaks plain HTTP to the Service; leave TLS to the controller, or run a second release for those who call directly" }}
{{- end }}
{{- $drain := include "prom-rbac-proxy.seconds" (dig "limits" "drainTimeout" "30s" .Values.config) | float64 }}
{{- $needed := addf $drain 2 | ceil | int }}
{{- if le (int .Values.terminationGracePeriodSeconds) $needed }}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short, the pods would be killed while they drain; set more than %d, which is config.limits.drainTimeout and 2 s" (int .Values.terminationGracePeriodSeconds) $needed) }}
{{- end }}
{{- if and .Values.podDisruptionBudget.enabled (kindIs "float64" .Values.podDisruptionBudget.minAvailable) }}
{{- $replicas := ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled | int }}
{{- if ge (int .Values.podDisruptionBudget.minAvailable) $replicas }}
{{- fail (printf "podDisruptionBudget.minAvailable: %d of %d replicas: no node with one of them could be drained" (int .Values.podDisruptionBudget.minAvailable) $replicas) }}
{{- end }}
{{- end }}
{{- if and .Values.networkPolicy.prometheus.enabled (not (include "prom-rbac-proxy.prometheusLabels" .)) }}
{{- fail "networkPolicy.prometheus: the labels of the Prometheus pods are not known here; set prometheus.podLabels (and prometheus.namespace)" }}
{{- end }}
{{- if and .Values.networkPolicy.prometheus.enabled (not .Values.networkPolicy.prometheusPorts) (not (include "prom-rbac-proxy.operated" .)) }}
{{- fail "networkPolicy.prometheus: the ports of the Prometheus pods are not known here, a Service or URL may have another; set networkPolicy.prometheusPorts" }}
{{- end }}
{{- end }}

{{/* A duration of the configuration, such as 1m30s, in seconds. */}}
{{- define "prom-rbac-proxy.seconds" -}}
{{- $units := dict "ms" 0.001 "s" 1 "m" 60 "h" 3600 "d" 86400 }}
{{- $sum := 0.0 }}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" (toString .) -1 }}
{{- $sum = addf $sum (mulf (regexFind "^[0-9]+" . | float64) (get $units (regexFind "[a-z]+$" .))) }}
{{- end }}
{{- $sum }}
{{- end }}
