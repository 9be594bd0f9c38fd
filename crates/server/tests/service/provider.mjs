// An OpenID Connect provider on loopback: oidc-provider, which is certified by the OpenID Foundation, with its own forms to log in by.
// Arguments: the folder it is installed in, its port, and the address that browsers come back to. Prints a line when it listens.
// Everybody may log in. "unseen" has an address that was not seen to be theirs, and "olga" is in the group "ops".
import { generateKeyPairSync } from "node:crypto";
import { pathToFileURL } from "node:url";

const [folder, port, back] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`));
const key = (type, options, more) => ({ ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), use: "sig", ...more });
const client = { redirect_uris: [back], response_types: ["code"], grant_types: ["authorization_code"] };
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: "hatchery", client_secret: "a secret: of / the client", id_token_signed_response_alg: "RS256" },
    { ...client, client_id: "public", token_endpoint_auth_method: "none", id_token_signed_response_alg: "ES256" },
  ],
  jwks: {
    keys: [
      key("rsa", { modulusLength: 2048 }, { alg: "RS256", kid: "r" }),
      key("ec", { namedCurve: "P-256" }, { alg: "ES256", kid: "e" }),
    ],
  },
  pkce: { required: () => true },
  cookies: { keys: ["of the tests"] },
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      email: `${id}@example.org`,
      email_verified: id !== "unseen",
      name: `Name of ${id}`,
      groups: id === "olga" ? ["users", "ops"] : ["users"],
    }),
  }),
});
// What starts this may be ended with no time to say so, and PyPI's Node is a program that starts another.
process.stdin.on("end", () => process.exit()).resume();
provider.listen(Number(port), "127.0.0.1", () => console.log("listening"));
