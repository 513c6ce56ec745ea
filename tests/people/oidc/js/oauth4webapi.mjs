// npm's oauth4webapi as the client and as the API: the same by hand, and what is not to be taken.
import { createInterface } from "node:readline/promises";
import * as oauth from "oauth4webapi";

const [issuer, id, secret, redirectUri, afterLogout] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => console.log(JSON.stringify(value));
const plain = { [oauth.allowInsecureRequests]: true };
const url = new URL(issuer);

async function go(to) {
  say({ go: to.href });
  return new URL((await lines.next()).value);
}

const found = await oauth.discoveryRequest(url, { algorithm: "oidc", ...plain });
const as = await oauth.processDiscoveryResponse(url, found);
const found2 = await oauth.discoveryRequest(url, { algorithm: "oauth2", ...plain });
const as2 = await oauth.processDiscoveryResponse(url, found2);
const client = { client_id: id };
const auth = oauth.ClientSecretBasic(secret);

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const nonce = oauth.generateRandomNonce();
const wanted = new URL(as.authorization_endpoint);
for (const [name, value] of Object.entries({
  client_id: id,
  redirect_uri: redirectUri,
  response_type: "code",
  scope: "openid profile organisation:read",
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
  state,
  nonce,
})) {
  wanted.searchParams.set(name, value);
}
const callback = oauth.validateAuthResponse(as, client, await go(wanted), state);
const answered = await oauth.authorizationCodeGrantRequest(as, client, auth, callback, redirectUri, verifier, plain);
const tokens = await oauth.processAuthorizationCodeResponse(as, client, answered, {
  expectedNonce: nonce,
  requireIdToken: true,
});
await oauth.validateApplicationLevelSignature(as, answered, plain);
const { sub } = oauth.getValidatedIdTokenClaims(tokens);
const info = await oauth.userInfoRequest(as, client, tokens.access_token, plain);
const person = await oauth.processUserInfoResponse(as, client, sub, info);

// As the API would be that takes the access token: a request as it comes in, judged by RFC 9068.
const request = new Request(`${issuer}/api/v1/organisation`, {
  headers: { authorization: `Bearer ${tokens.access_token}` },
});
const claims = await oauth.validateJwtAccessToken(as, request, `${issuer}/api/v1`, plain);

const own = await oauth.clientCredentialsGrantRequest(
  as,
  client,
  auth,
  new URLSearchParams({ scope: "organisation:read" }),
  plain,
);
const ours = await oauth.processClientCredentialsResponse(as, client, own);
const called = await fetch(`${issuer}/api/v1/organisation`, {
  headers: { authorization: `Bearer ${ours.access_token}` },
});

const out = new URL(as.end_session_endpoint);
out.searchParams.set("id_token_hint", tokens.id_token);
out.searchParams.set("post_logout_redirect_uri", afterLogout);
const left = await go(out);
say({
  person,
  sub,
  issuers: [as.issuer, as2.issuer],
  scope: claims.scope,
  called: called.status,
  left: left.href,
  accessToken: tokens.access_token,
  idToken: tokens.id_token,
});
process.exit(0);
