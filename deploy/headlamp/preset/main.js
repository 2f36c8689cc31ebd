// A Headlamp plugin without a build step. It enters the address of prom-rbac-proxy into the settings of Headlamp's
// Prometheus plugin, which lie in each browser and have no default that an operator could set. It never replaces
// an address that a user typed, and does not switch metrics on again for who switched them off.
(function (pluginLib) {
  'use strict';

  // By the name that Headlamp gives the cluster: config.inClusterContextName of its chart, "main" unless changed.
  // The fields are those of the Prometheus plugin; `address` is NAMESPACE/SERVICE:PORT, without a scheme.
  const PRESETS = {
    main: {
      address: 'monitoring/prom-rbac-proxy:9090',
      defaultTimespan: '24h',
      defaultResolution: 'medium',
    },
  };

  // Remembers, in the same browser, what this plugin entered: only that may change when the preset does.
  const MEMORY = 'prom-rbac-proxy-preset';
  const PLUGIN = 'prometheus';

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

  if (!pluginLib || typeof pluginLib.ConfigStore !== 'function') {
    console.warn('prom-rbac-proxy-preset: this Headlamp has no ConfigStore, so no address was entered');
    return;
  }
  const store = new pluginLib.ConfigStore(PLUGIN);
  const memory = new pluginLib.ConfigStore(MEMORY);
  const settings = store.get() || {};
  const entered = memory.get() || {};
  const changes = {};
  const additions = {};
  for (const [cluster, preset] of Object.entries(PRESETS)) {
    const changed = apply(preset, settings[cluster], entered[cluster]);
    if (changed === undefined) continue;
    changes[cluster] = changed;
    additions[cluster] = preset.address;
  }
  if (Object.keys(changes).length > 0) {
    store.update(changes);
    memory.update(additions);
  }
})(window.pluginLib);
