// The preset plugin against a stand-in of Headlamp's settings store and of its /config. It is run the way Headlamp runs
// it: as the body of a function in a page whose window has pluginLib. preset_page.html does the same in a browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

// PRESET: the one of a released archive.
const source = readFileSync(process.env.PRESET ?? new URL('../../deploy/headlamp/preset/main.js', import.meta.url), 'utf8');
const ADDRESS = 'monitoring/prom-rbac-proxy:9090';

function deepFreeze(value) {
  if (value && typeof value === 'object') Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}

const IN_CLUSTER = { name: 'main', meta_data: { source: 'incluster' } };

/** A browser with stored plugin settings; `load` runs the plugin and returns what is stored when it is done. */
function browser(stored = {}, { clusters = [IN_CLUSTER], baseURL, answer } = {}) {
  let state = structuredClone(stored);
  let updates = 0;
  const asked = [];
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
  const fetch = async url => {
    asked.push(url);
    return answer ? answer() : new Response(JSON.stringify({ clusters }));
  };
  return {
    async load(text = source) {
      new Function('window', 'fetch', text)({ pluginLib: { ConfigStore }, headlampBaseUrl: baseURL }, fetch);
      // All that the plugin awaits is ready, so one turn of the event loop is all that it takes.
      await new Promise(resolve => setTimeout(resolve));
      return state;
    },
    change(edit) {
      edit(state);
    },
    get updates() {
      return updates;
    },
    asked,
  };
}

test('a new browser gets the address with metrics on and autodetection off', async () => {
  assert.deepEqual((await browser().load()).prometheus, {
    main: {
      address: ADDRESS,
      autoDetect: false,
      isMetricsEnabled: true,
      defaultTimespan: '24h',
      defaultResolution: 'medium',
    },
  });
});

test('an address that a user typed stays, with everything beside it', async () => {
  const prometheus = { main: { address: 'other/prometheus:9090', autoDetect: false, isMetricsEnabled: true, subPath: 'x' } };
  const page = browser({ prometheus });
  assert.deepEqual((await page.load()).prometheus, prometheus);
  assert.equal(page.updates, 0);
});

test('the state that the button "Show Prometheus metrics" leaves gets the address', async () => {
  const { main } = (await browser({ prometheus: { main: { autoDetect: true, isMetricsEnabled: true } } }).load()).prometheus;
  assert.equal(main.address, ADDRESS);
  assert.equal(main.autoDetect, false);
  assert.equal(main.isMetricsEnabled, true);
});

test('metrics that a user switched off stay off', async () => {
  const { main } = (await browser({ prometheus: { main: { autoDetect: true, isMetricsEnabled: false } } }).load()).prometheus;
  assert.equal(main.isMetricsEnabled, false);
});

test("a user's time span and resolution stay", async () => {
  const stored = { prometheus: { main: { defaultTimespan: '1h', defaultResolution: 'high' } } };
  const { main } = (await browser(stored).load()).prometheus;
  assert.equal(main.defaultTimespan, '1h');
  assert.equal(main.defaultResolution, 'high');
});

test('an empty address counts as none', async () => {
  assert.equal((await browser({ prometheus: { main: { address: '' } } }).load()).prometheus.main.address, ADDRESS);
});

test('other clusters and other plugins are left alone', async () => {
  const other = { address: 'a/b:1', autoDetect: false };
  const state = await browser({ prometheus: { staging: other }, opencost: { main: { x: 1 } } }).load();
  assert.deepEqual(state.prometheus.staging, other);
  assert.deepEqual(state.opencost, { main: { x: 1 } });
});

test('loading the page again changes nothing', async () => {
  const page = browser();
  await page.load();
  const updates = page.updates;
  await page.load();
  assert.equal(page.updates, updates);
});

test('autodetection chosen afterwards is kept', async () => {
  const page = browser();
  await page.load();
  page.change(state => (state.prometheus.main.autoDetect = true));
  assert.equal((await page.load()).prometheus.main.autoDetect, true);
});

test('a preset that moved follows where the old one was entered, and only there', async () => {
  const moved = source.replace(ADDRESS, 'observability/prom-rbac-proxy:9090');
  const page = browser();
  await page.load();
  page.change(state => (state.prometheus.main.autoDetect = true));
  const { main } = (await page.load(moved)).prometheus;
  assert.equal(main.address, 'observability/prom-rbac-proxy:9090');
  assert.equal(main.autoDetect, true);

  const typed = browser({ prometheus: { main: { address: ADDRESS, autoDetect: false } } });
  assert.equal((await typed.load(moved)).prometheus.main.address, ADDRESS);
});

test('the preset that replaced the old one is not entered over what the user types next', async () => {
  const page = browser();
  await page.load();
  page.change(state => (state.prometheus.main.address = 'mine/prometheus:9090'));
  assert.equal((await page.load()).prometheus.main.address, 'mine/prometheus:9090');
});

test('the address has the form that the Prometheus plugin takes', async () => {
  assert.match((await browser().load()).prometheus.main.address, /^[a-z0-9-]+\/[a-z0-9-]+:[0-9]+$/);
});

test('a Headlamp without ConfigStore is left alone', t => {
  const warn = t.mock.method(console, 'warn', () => {});
  new Function('window', source)({ pluginLib: {} });
  new Function('window', source)({});
  assert.equal(warn.mock.callCount(), 2);
});

test('the cluster that Headlamp runs in is found whatever its name, and others are left alone', async () => {
  const clusters = [{ name: 'far', meta_data: { source: 'kubeconfig' } }, { name: 'kubernetes', meta_data: { source: 'incluster' } }];
  const { prometheus } = await browser({}, { clusters }).load();
  assert.deepEqual(Object.keys(prometheus), ['kubernetes']);
});

test('a Headlamp with a kubeconfig alone gets the address for all of its clusters', async () => {
  const clusters = [{ name: 'a', meta_data: { source: 'kubeconfig' } }, { name: 'b' }, {}, null];
  const { prometheus } = await browser({}, { clusters }).load();
  assert.deepEqual(Object.keys(prometheus), ['a', 'b']);
});

test('a cluster that is named in the plugin counts, and one that is null does not', async () => {
  const own = source.replace('const CLUSTERS = {}', "const CLUSTERS = { far: { address: 'far/proxy:1' }, main: null }");
  const { prometheus } = await browser({}, { clusters: [IN_CLUSTER, { name: 'far' }] }).load(own);
  assert.deepEqual(Object.keys(prometheus), ['far']);
  assert.equal(prometheus.far.address, 'far/proxy:1');
});

test("the names are asked below Headlamp's base URL", async () => {
  for (const [baseURL, expected] of [[undefined, '/config'], ['', '/config'], ['/', '/config'], ['.', '/config'], ['./', '/config'], ['/headlamp', '/headlamp/config']]) {
    const page = browser({}, { baseURL });
    await page.load();
    assert.deepEqual(page.asked, [expected]);
  }
});

test('without the names nothing is entered, and the console says why', async t => {
  const warn = t.mock.method(console, 'warn', () => {});
  const answers = [() => new Response('', { status: 502 }), () => new Response('<html>'), () => new Response('{}'), () => Promise.reject(new Error('unreachable'))];
  for (const answer of answers) {
    const page = browser({}, { answer });
    assert.deepEqual(await page.load(), {});
  }
  assert.equal(warn.mock.callCount(), answers.length);
  assert.match(warn.mock.calls[0].arguments[0], /\/config answers 502/);
});
