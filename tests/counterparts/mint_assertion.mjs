// samlp as a SAML identity provider: node mint_assertion.mjs NODE_MODULES ENTITY_ID KEY_FILE CERTIFICATE_FILE AUDIENCE RECIPIENT USER [HOW...]
// HOW, any of: `response-signed` has the response signed instead of the assertion; `sha1` signs by SHA-1; `awkward` puts in what
// canonicalization must get right. Prints the response in base64url.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [modules, issuer, key, cert, audience, recipient, user, ...how] = process.argv.slice(2);
const samlp = createRequire(`${modules}/samlp/`)("samlp");
const groups = ["staff", "finance"];
if (how.includes("awkward")) groups.push('R&D <"research">', "æøå 漢字 🦀", "  spaces  ", "it's");
const signResponse = how.includes("response-signed");
const options = {
  issuer,
  audience,
  recipient,
  destination: recipient,
  key: readFileSync(key),
  cert: readFileSync(cert),
  lifetimeInSeconds: 900,
  sessionIndex: `_session-of-${user}`,
  signatureAlgorithm: how.includes("sha1") ? "rsa-sha1" : "rsa-sha256",
  digestAlgorithm: how.includes("sha1") ? "sha1" : "sha256",
  signResponse,
  signAssertion: !signResponse,
  profileMapper: () => ({
    getClaims: () => ({ groups }),
    getNameIdentifier: () => ({ nameIdentifier: user }),
  }),
};
samlp.getSamlResponse(options, { id: user }, (error, response) => {
  if (error) throw error;
  process.stdout.write(Buffer.from(response).toString("base64url"));
});
