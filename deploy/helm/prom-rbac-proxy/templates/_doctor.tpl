{{/* `doctor`, as a Job, a CronJob and a test run it: (list $ FAIL_ON). Its pod has no label that a selector of the proxy meets. */}}
{{- define "prom-rbac-proxy.doctorPod" -}}
{{- $root := first . }}
restartPolicy: Never
serviceAccountName: {{ include "prom-rbac-proxy.fullname" $root }}-doctor
automountServiceAccountToken: true
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "prom-rbac-proxy.podSecurityContext" $root | nindent 2 }}
containers:
  - name: doctor
    image: {{ include "prom-rbac-proxy.image" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: [doctor, --config, /etc/prom-rbac-proxy/config.yaml, --wait, "60", --fail-on, {{ last . }}]
    {{- with $root.Values.extraEnv }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    resources:
      requests:
        cpu: 50m
        memory: 64Mi
      limits:
        memory: 512Mi
    securityContext:
      {{- toYaml $root.Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: config
        mountPath: /etc/prom-rbac-proxy
        readOnly: true
volumes:
  - name: config
    configMap:
      name: {{ include "prom-rbac-proxy.configName" $root }}
{{- end }}

{{- define "prom-rbac-proxy.doctorLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: doctor
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
