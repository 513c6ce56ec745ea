// npm's openid-client as the client: discovery, the code flow, userinfo, refresh and logout.
// A line of JSON {"go": url} asks whoever started it to open the address; the answer is a line with where that led.
import { createInterface } from "node:readline/promises";
import * as client from "openid-client";

const [issuer, id, secret, redirectUri, afterLogout] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => console.log(JSON.stringify(value));

async function go(url) {
  say({ go: url.href });
  return new URL((await lines.next()).value);
}

const config = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic(secret), {
  execute: [client.allowInsecureRequests],
});
client.enableNonRepudiationChecks(config);

const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const nonce = client.randomNonce();
const wanted = client.buildAuthorizationUrl(config, {
  redirect_uri: redirectUri,
  scope: "openid email offline_access",
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
  prompt: "consent",
  max_age: "300",
  state,
  nonce,
});
const tokens = await client.authorizationCodeGrant(config, await go(wanted), {
  pkceCodeVerifier: verifier,
  expectedState: state,
  expectedNonce: nonce,
  maxAge: 300,
  idTokenExpected: true,
});
const { sub } = tokens.claims();
const person = await client.fetchUserInfo(config, tokens.access_token, sub);
const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
const told = await client.tokenIntrospection(config, renewed.access_token);
const left = await go(
  client.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token,
    post_logout_redirect_uri: afterLogout,
    state: "signed-out",
  }),
);
await client.tokenRevocation(config, renewed.refresh_token);
const over = await client.tokenIntrospection(config, renewed.access_token);
say({
  person,
  sub,
  renewed: renewed.refresh_token !== tokens.refresh_token && renewed.claims().sub === sub,
  active: [told.active, over.active],
  left: left.href,
  accessToken: tokens.access_token,
  idToken: tokens.id_token,
});
process.exit(0);
