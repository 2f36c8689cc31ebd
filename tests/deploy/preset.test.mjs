// The preset plugin against a stand-in of Headlamp's settings store. It is run the way Headlamp runs it: as the body
// of a function in a page whose window has pluginLib.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const source = readFileSync(new URL('../../deploy/headlamp/preset/main.js', import.meta.url), 'utf8');
const ADDRESS = 'monitoring/prom-rbac-proxy:9090';

function deepFreeze(value) {
  if (value && typeof value === 'object') Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}

/** A browser with stored plugin settings; `load` runs the plugin and returns what is stored then. */
function browser(stored = {}) {
  let state = structuredClone(stored);
  let updates = 0;
  // Headlamp's ConfigStore: get() gives frozen state or undefined, update() replaces top-level keys.
  class ConfigStore {
    constructor(key) {
      this.key = key;
    }
    get() {
      return deepFreeze(structuredClone(state[this.key]));
    }
    update(changes) {
      updates += 1;
      state = { ...state, [this.key]: { ...state[this.key], ...structuredClone(changes) } };
    }
  }
  return {
    load(text = source) {
      new Function('window', text)({ pluginLib: { ConfigStore } });
      return state;
    },
    change(edit) {
      edit(state);
    },
    get updates() {
      return updates;
    },
  };
}

test('a new browser gets the address with metrics on and autodetection off', () => {
  assert.deepEqual(browser().load().prometheus, {
    main: {
      address: ADDRESS,
      autoDetect: false,
      isMetricsEnabled: true,
      defaultTimespan: '24h',
      defaultResolution: 'medium',
    },
  });
});

test('an address that a user typed stays, with everything beside it', () => {
  const prometheus = { main: { address: 'other/prometheus:9090', autoDetect: false, isMetricsEnabled: true, subPath: 'x' } };
  const page = browser({ prometheus });
  assert.deepEqual(page.load().prometheus, prometheus);
  assert.equal(page.updates, 0);
});

test('the state that the button "Show Prometheus metrics" leaves gets the address', () => {
  const { main } = browser({ prometheus: { main: { autoDetect: true, isMetricsEnabled: true } } }).load().prometheus;
  assert.equal(main.address, ADDRESS);
  assert.equal(main.autoDetect, false);
  assert.equal(main.isMetricsEnabled, true);
});

test('metrics that a user switched off stay off', () => {
  const { main } = browser({ prometheus: { main: { autoDetect: true, isMetricsEnabled: false } } }).load().prometheus;
  assert.equal(main.isMetricsEnabled, false);
});

test("a user's time span and resolution stay", () => {
  const stored = { prometheus: { main: { defaultTimespan: '1h', defaultResolution: 'high' } } };
  const { main } = browser(stored).load().prometheus;
  assert.equal(main.defaultTimespan, '1h');
  assert.equal(main.defaultResolution, 'high');
});

test('an empty address counts as none', () => {
  assert.equal(browser({ prometheus: { main: { address: '' } } }).load().prometheus.main.address, ADDRESS);
});

test('other clusters and other plugins are left alone', () => {
  const other = { address: 'a/b:1', autoDetect: false };
  const state = browser({ prometheus: { staging: other }, opencost: { main: { x: 1 } } }).load();
  assert.deepEqual(state.prometheus.staging, other);
  assert.deepEqual(state.opencost, { main: { x: 1 } });
});

test('loading the page again changes nothing', () => {
  const page = browser();
  page.load();
  const updates = page.updates;
  page.load();
  assert.equal(page.updates, updates);
});

test('autodetection chosen afterwards is kept', () => {
  const page = browser();
  page.load();
  page.change(state => (state.prometheus.main.autoDetect = true));
  assert.equal(page.load().prometheus.main.autoDetect, true);
});

test('a preset that moved follows where the old one was entered, and only there', () => {
  const moved = source.replace(ADDRESS, 'observability/prom-rbac-proxy:9090');
  const page = browser();
  page.load();
  page.change(state => (state.prometheus.main.autoDetect = true));
  const { main } = page.load(moved).prometheus;
  assert.equal(main.address, 'observability/prom-rbac-proxy:9090');
  assert.equal(main.autoDetect, true);

  const typed = browser({ prometheus: { main: { address: ADDRESS, autoDetect: false } } });
  assert.equal(typed.load(moved).prometheus.main.address, ADDRESS);
});

test('the preset that replaced the old one is not entered over what the user types next', () => {
  const page = browser();
  page.load();
  page.change(state => (state.prometheus.main.address = 'mine/prometheus:9090'));
  assert.equal(page.load().prometheus.main.address, 'mine/prometheus:9090');
});

test('the address has the form that the Prometheus plugin takes', () => {
  assert.match(browser().load().prometheus.main.address, /^[a-z0-9-]+\/[a-z0-9-]+:[0-9]+$/);
});

test('a Headlamp without ConfigStore is left alone', t => {
  const warn = t.mock.method(console, 'warn', () => {});
  new Function('window', source)({ pluginLib: {} });
  new Function('window', source)({});
  assert.equal(warn.mock.callCount(), 2);
});
