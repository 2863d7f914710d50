// oidc-provider as an enterprise's identity provider: node identity_provider.mjs NODE_MODULES PORT JWKS_FILE LOGOUT_URI
// [CALLBACK CLIENT_SECRET], the latter for the client with which operators sign in.
import { readFileSync } from "node:fs";

const [modules, port, keys, logoutUri, callback, clientSecret] = process.argv.slice(2);
const { default: Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const groups = { alice: ["staff", "finance"], bob: ["staff"] };

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "desktop",
      application_type: "native",
      token_endpoint_auth_method: "none",
      redirect_uris: ["http://127.0.0.1/callback"],
      backchannel_logout_uri: logoutUri,
      backchannel_logout_session_required: true,
    },
    ...(callback
      ? [
          {
            client_id: "writ",
            client_secret: clientSecret,
            redirect_uris: [callback],
            backchannel_logout_uri: logoutUri,
            backchannel_logout_session_required: true,
          },
        ]
      : []),
  ],
  jwks: JSON.parse(readFileSync(keys, "utf8")),
  cookies: { keys: ["a secret of this test"] },
  claims: { openid: ["sub"], groups: ["groups"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groups[id] ?? [] }) }),
  features: { backchannelLogout: { enabled: true } },
  // Its own dispatcher refuses addresses of this machine.
  fetch: async (url, { dispatcher, ...options }) => {
    const begun = performance.now();
    const response = await fetch(url, options);
    console.log(`called back: ${response.status} after ${Math.round(performance.now() - begun)} ms`);
    return response;
  },
});
provider.on("backchannel.error", (_, error) => console.log(`backchannel error: ${error.message}`));
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
