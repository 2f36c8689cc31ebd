// A Headlamp plugin without a build step. It enters the address of prom-rbac-proxy into the settings of Headlamp's
// Prometheus plugin, which lie in each browser and have no default that an operator could set. It never replaces
// an address that a user typed, and does not switch metrics on again for who switched them off.
(function (page) {
  'use strict';

  // The fields are those of the Prometheus plugin; `address` is NAMESPACE/SERVICE:PORT, without a scheme.
  const PRESET = {
    address: 'monitoring/prom-rbac-proxy:9090',
    defaultTimespan: '24h',
    defaultResolution: 'medium',
  };

  // For clusters that Headlamp reaches from outside, by the names that it shows: { staging: PRESET } or with a preset
  // of their own; null leaves a cluster alone. The cluster that Headlamp runs in needs no entry, whatever its name.
  const CLUSTERS = {};

  // Remembers, in the same browser, what this plugin entered: only that may change when the preset does.
  const MEMORY = 'prom-rbac-proxy-preset';
  const PLUGIN = 'prometheus';

  const { pluginLib } = page;

  function complain(what) {
    console.warn(`prom-rbac-proxy-preset: ${what}, so no address was entered`);
  }

  // Where Headlamp's backend has its own configuration; a base URL of `.` or `/` is none.
  function configURL() {
    const base = String(page.headlampBaseUrl ?? '').replace(/\/+$/, '');
    return base === '' || base === '.' ? '/config' : `${base.startsWith('/') ? '' : '/'}${base}/config`;
  }

  // The presets by the names of clusters. Headlamp names the one that it runs in by a flag of its own, or by kubeadm's
  // configuration, so only it can tell. Where it runs in none (a kubeconfig), all that it has are meant.
  function presets(clusters) {
    const known = clusters.filter(cluster => cluster && typeof cluster.name === 'string' && cluster.name !== '');
    const inside = known.filter(cluster => cluster.meta_data?.source === 'incluster');
    const found = new Map();
    for (const { name } of inside.length > 0 ? inside : known) found.set(name, PRESET);
    for (const [name, preset] of Object.entries(CLUSTERS)) found.set(name, preset);
    return [...found].filter(([, preset]) => preset);
  }

  // The settings of one cluster after the preset, or undefined where nothing is to change.
  function apply(preset, current, entered) {
    const settings = current || {};
    const ours = Boolean(entered) && settings.address === entered;
    if (settings.address && !ours) return undefined;
    if (ours && settings.address === preset.address) return undefined;
    return {
      isMetricsEnabled: true,
      ...preset,
      ...settings,
      // Who chose autodetection after the address was entered keeps it.
      autoDetect: ours ? settings.autoDetect : false,
      address: preset.address,
    };
  }

  function enter(clusters) {
    const store = new pluginLib.ConfigStore(PLUGIN);
    const memory = new pluginLib.ConfigStore(MEMORY);
    const settings = store.get() || {};
    const entered = memory.get() || {};
    const changes = {};
    const additions = {};
    for (const [cluster, preset] of presets(clusters)) {
      const changed = apply(preset, settings[cluster], entered[cluster]);
      if (changed === undefined) continue;
      changes[cluster] = changed;
      additions[cluster] = preset.address;
    }
    if (Object.keys(changes).length > 0) {
      store.update(changes);
      memory.update(additions);
    }
  }

  async function start() {
    const url = configURL();
    const answer = await fetch(url, { headers: { Accept: 'application/json' } });
    if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
    const { clusters } = await answer.json();
    if (!Array.isArray(clusters)) throw new Error(`${url} names no clusters`);
    enter(clusters);
  }

  if (!pluginLib || typeof pluginLib.ConfigStore !== 'function') {
    complain('this Headlamp has no ConfigStore');
    return;
  }
  start().catch(error => complain(`the names of the clusters are not known (${error.message})`));
})(
  // Later than 0.45 Headlamp hides `window` from plugins; what it puts there for them still has its name.
  (typeof window === 'object' && window) || {
    pluginLib: typeof pluginLib === 'object' ? pluginLib : undefined,
    headlampBaseUrl: typeof headlampBaseUrl === 'string' ? headlampBaseUrl : undefined,
  }
);
