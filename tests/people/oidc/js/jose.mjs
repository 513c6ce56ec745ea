// npm's jose as the judge of one token: issuer, client and the texts of an access token and an ID token come in.
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";

const [issuer, client, accessToken, idToken] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(`${issuer}/oauth/jwks`));
const algorithms = ["RS256", "ES256"];
const access = await jwtVerify(accessToken, keys, {
  issuer,
  audience: `${issuer}/api/v1`,
  typ: "at+jwt",
  algorithms,
  requiredClaims: ["sub", "client_id", "iat", "exp", "jti", "scope"],
});
const id = await jwtVerify(idToken, keys, {
  issuer,
  audience: client,
  typ: "JWT",
  algorithms,
  requiredClaims: ["sub", "azp", "iat", "exp", "auth_time", "at_hash", "sid"],
});
const crossed = await jwtVerify(idToken, keys, { issuer, audience: `${issuer}/api/v1`, typ: "at+jwt" }).catch(
  (error) => error.code,
);
console.log(
  JSON.stringify({
    access: access.payload,
    id: id.payload,
    crossed,
    algorithms: [decodeProtectedHeader(accessToken).alg, decodeProtectedHeader(idToken).alg],
  }),
);
