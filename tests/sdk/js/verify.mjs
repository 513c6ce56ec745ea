// Verifies deliveries with npm's `standardwebhooks` and `svix`, on their bytes as they arrived.
//
// Standard input: a JSON array of {secret, headers, body}, the body in base64. Prints a JSON array of
// {standardwebhooks, svix}: true, or the error.
import { readFileSync } from "node:fs";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

function verdict(verify) {
  try {
    verify();
    return true;
  } catch (error) {
    return String(error);
  }
}

const deliveries = JSON.parse(readFileSync(0, "utf8"));
const verdicts = deliveries.map(({ secret, headers, body }) => {
  const bytes = Buffer.from(body, "base64");
  return {
    standardwebhooks: verdict(() => new Standard(secret).verify(bytes, headers, { jsonParse: false })),
    svix: verdict(() => new Svix(secret).verify(bytes, headers)),
  };
});
console.log(JSON.stringify(verdicts));
