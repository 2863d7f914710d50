// A user's browser and an agent's program that know nothing of writ:
// node use_identity.mjs NODE_MODULES login ISSUER USER STATE_FILE [CLIENT_SECRET [RESOURCE]]
//                                        logs in by what a provider's pages ask for, with a code and PKCE; prints the ID token
// node use_identity.mjs NODE_MODULES visit URL USER STATE_FILE                opens a URL, logs in where that leads, and goes where that leads
// node use_identity.mjs NODE_MODULES logout ISSUER STATE_FILE                logs out there
// node use_identity.mjs NODE_MODULES openid-client|oauth4webapi AUTHORITY AGENT KEY_FILE SCOPE    exchanges the token on standard input
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";

const [modules, command, ...args] = process.argv.slice(2);
const client = await import(`${modules}/openid-client/build/index.js`);
const oauth = await import(`${modules}/oauth4webapi/build/index.js`);
const REDIRECT = "http://127.0.0.1/callback";
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";

const filled = (user) => ({ login: user, password: `password of ${user}` });

/** One request of a browser. */
async function send(url, cookies, { headers, ...options } = {}) {
  const cookie = Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join("; ");
  const response = await fetch(url, { ...options, headers: { cookie, ...headers }, redirect: "manual" });
  for (const set of response.headers.getSetCookie()) {
    const [name, value] = set.split(";")[0].split(/=(.*)/s);
    cookies[name] = value;
  }
  return response;
}

/** What the script of glewlwyd's login page does, and where it goes then. */
async function byScript(url, cookies, fields) {
  const said = url.searchParams;
  const api = async (method, path, body) => {
    const options = { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } };
    const response = await send(new URL(`/api/${path}`, url), cookies, options);
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status}`);
  };
  if (said.get("prompt") === "end_session") {
    await api("DELETE", `${said.get("plugin")}/session/${said.get("sid")}`);
    return undefined;
  }
  await api("POST", "auth", { username: fields.login, password: fields.password });
  await api("PUT", `auth/grant/${said.get("client_id")}`, { scope: said.get("scope") });
  return new URL(`${said.get("callback_url")}&g_continue`);
}

/** Follows redirects and fills every form it is shown, until `done` likes a URL or a page has none. */
async function browse(url, cookies, fields, done) {
  let form;
  for (let step = 0; step < 20; step++) {
    if (url === undefined || done(url)) return url;
    if (new URL(url).pathname === "/login.html") {
      url = await byScript(new URL(url), cookies, fields);
      continue;
    }
    const response = await send(url, cookies, { method: form ? "POST" : "GET", body: form });
    const to = response.headers.get("location");
    if (to) {
      [url, form] = [new URL(to, url), undefined];
      continue;
    }
    const page = await response.text();
    const action = page.match(/<form[^>]*action="([^"]*)"/)?.[1];
    if (action === undefined) return page;
    form = new URLSearchParams(fields);
    for (const [input] of page.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
      form.set(input.match(/name="([^"]+)"/)[1], input.match(/value="([^"]*)"/)[1]);
    }
    url = new URL(action, url);
  }
  throw new Error(`lost at ${url}`);
}

async function login(issuer, user, stateFile, secret, resource) {
  const insecure = { execute: [client.allowInsecureRequests] };
  const auth = secret ? client.ClientSecretBasic(secret) : client.None();
  const config = await client.discovery(new URL(issuer), "desktop", undefined, auth, insecure);
  const [pkceCodeVerifier, expectedNonce] = [client.randomPKCECodeVerifier(), client.randomNonce()];
  const begin = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT,
    scope: resource ? "openid" : "openid groups",
    nonce: expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    ...(resource ? { resource } : {}),
  });
  const cookies = {};
  const back = await browse(begin, cookies, filled(user), (url) => `${url}`.startsWith(REDIRECT));
  if (!`${back}`.startsWith(REDIRECT)) throw new Error(`no login for ${user}`);
  const tokens = await client.authorizationCodeGrant(config, new URL(back), { pkceCodeVerifier, expectedNonce });
  const state = { cookies, idToken: tokens.id_token, accessToken: tokens.access_token };
  writeFileSync(stateFile, JSON.stringify(state));
  return tokens.id_token;
}

async function visit(url, user, stateFile) {
  const cookies = {};
  const isWaiting = (at) => `${at}`.startsWith("http://127.0.0.1:") && new URL(at).pathname === "/";
  const back = await browse(url, cookies, filled(user), isWaiting);
  writeFileSync(stateFile, JSON.stringify({ cookies }));
  return (await fetch(back)).text();
}

async function logout(issuer, stateFile) {
  const { cookies, idToken } = JSON.parse(readFileSync(stateFile, "utf8"));
  const metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  const url = new URL(metadata.end_session_endpoint);
  if (idToken) url.searchParams.set("id_token_hint", idToken);
  await browse(url, cookies, { logout: "yes" }, (at) => `${at}`.endsWith("/session/end/success"));
  return "logged out";
}

async function keysOf(file) {
  const pem = readFileSync(file);
  const key = (encoded, kind, use) => crypto.subtle.importKey(kind, encoded, "Ed25519", true, [use]);
  return {
    privateKey: await key(createPrivateKey(pem).export({ format: "der", type: "pkcs8" }), "pkcs8", "sign"),
    publicKey: await key(createPublicKey(pem).export({ format: "der", type: "spki" }), "spki", "verify"),
  };
}

const parameters = (subjectToken, scope) => ({
  subject_token: subjectToken,
  subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
  scope,
});

async function byOpenidClient(authority, agent, keyFile, scope, token) {
  const keys = await keysOf(keyFile);
  const options = { algorithm: "oauth2", execute: [client.allowInsecureRequests] };
  const auth = client.PrivateKeyJwt(keys.privateKey);
  const config = await client.discovery(new URL(authority), agent, undefined, auth, options);
  const DPoP = client.getDPoPHandle(config, keys);
  return client.genericGrantRequest(config, EXCHANGE, parameters(token, scope), { DPoP });
}

async function byOauth4webapi(authority, agent, keyFile, scope, token) {
  const keys = await keysOf(keyFile);
  const insecure = { [oauth.allowInsecureRequests]: true };
  const issuer = new URL(authority);
  const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure });
  const server = await oauth.processDiscoveryResponse(issuer, found);
  const self = { client_id: agent };
  const auth = oauth.PrivateKeyJwt(keys.privateKey);
  const options = { DPoP: oauth.DPoP(self, keys), ...insecure };
  const form = new URLSearchParams(parameters(token, scope));
  const response = await oauth.genericTokenEndpointRequest(server, self, auth, EXCHANGE, form, options);
  return oauth.processGenericTokenEndpointResponse(server, self, response);
}

async function exchanged(by) {
  try {
    return (await by(...args, readFileSync(0, "utf8").trim())).access_token;
  } catch (error) {
    console.log(`refused: ${error.error} ${error.error_description ?? error}`);
    process.exit(3);
  }
}

const answer = {
  login: () => login(...args),
  visit: () => visit(...args),
  logout: () => logout(...args),
  "openid-client": () => exchanged(byOpenidClient),
  oauth4webapi: () => exchanged(byOauth4webapi),
};
console.log(await answer[command]());
