// Makes every call of the contract with npm's `svix`.
//
// Arguments: the server's URL, an API key, the URL of a receiver that answers 2xx. Prints a JSON object a line:
// `call` (by its name in Python), `ok`, and `error` where it is not. The SDK itself accepts any shape, so dates and
// required fields are looked at here.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ApiException, Svix, messageInRaw } from "svix";

const [serverUrl, token, receiver] = process.argv.slice(2);
const PATIENCE_MS = 20_000;
const REVOKED_WITHIN_MS = 1000;
const PAYLOAD = { text: "Grüße, 世界 ✓", nested: { list: [1, 2.5, null, true] } };
const svix = new Svix(token, { serverUrl });
const app = `judged-${randomUUID().slice(0, 8)}`;
const eventType = `user.created.${randomUUID().slice(0, 8)}`;
const began = new Date(Date.now() - 300_000);
const known = {};

async function eventually(look) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < until, `nothing was found within ${PATIENCE_MS} ms`);
    await sleep(100);
  }
}

async function pages(fetch) {
  const items = [];
  let iterator;
  for (;;) {
    const page = await fetch(iterator);
    assert.equal(typeof page.done, "boolean");
    items.push(...page.data);
    if (page.done) break;
    iterator = page.iterator;
  }
  const keys = items.map((item) => item.id ?? item.name);
  assert.equal(new Set(keys).size, keys.length);
  return items;
}

function isDated(item, ...names) {
  for (const name of names) assert.ok(item[name] instanceof Date && !Number.isNaN(item[name].getTime()), name);
}

function isText(item, ...names) {
  for (const name of names) assert.equal(typeof item[name], "string", name);
}

async function isRefused(call, status, code) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof ApiException, String(error));
    assert.equal(error.code, status);
    assert.equal(error.body.code, code);
    return true;
  });
}

const succeeded = async (messageId) => (await svix.messageAttempt.listByMsg(app, messageId, { status: 0 })).data;

const STEPS = {
  "health.get": async () => assert.equal(await svix.health.get(), undefined),

  "application.create": async () => {
    const made = await svix.application.create({ name: "Judged", uid: app, throttleRate: 500, metadata: { k: "ö" } });
    assert.deepEqual([made.uid, made.name, made.throttleRate, made.metadata], [app, "Judged", 500, { k: "ö" }]);
    isDated(made, "createdAt", "updatedAt");
    known.app = made;
  },
  "application.get_or_create": async () => {
    assert.equal((await svix.application.getOrCreate({ name: "Judged", uid: app })).id, known.app.id);
    assert.equal((await svix.application.getOrCreate({ name: "Other", uid: `${app}-2` })).name, "Other");
  },
  "application.list": async () => {
    const found = await pages((iterator) => svix.application.list({ limit: 1, iterator }));
    assert.deepEqual(new Set(found.map((one) => one.uid)), new Set([app, `${app}-2`]));
    found.forEach((one) => isDated(one, "createdAt", "updatedAt"));
  },
  "application.get": async () => assert.deepEqual(await svix.application.get(app), known.app),
  "application.upsert": async () => {
    assert.equal((await svix.application.upsert(app, { name: "Renamed", uid: app })).name, "Renamed");
    assert.equal((await svix.application.upsert(`${app}-3`, { name: "New", uid: `${app}-3` })).uid, `${app}-3`);
  },
  "application.patch": async () => {
    const patched = await svix.application.patch(app, { metadata: { k: "v" } });
    assert.deepEqual([patched.name, patched.metadata], ["Renamed", { k: "v" }]);
  },

  "event_type.create": async () => {
    const schemas = { 1: { type: "object", examples: [{ text: "an example" }] } };
    const made = await svix.eventType.create({ name: eventType, description: "A user came", groupName: "user", schemas });
    assert.deepEqual([made.name, made.groupName, made.deprecated], [eventType, "user", false]);
    isDated(made, "createdAt", "updatedAt");
    await svix.eventType.create({ name: `${eventType}.gone`, description: "to be deleted" });
  },
  "event_type.list": async () => {
    const found = await pages((iterator) => svix.eventType.list({ limit: 1, iterator, withContent: true }));
    assert.equal(found.find((one) => one.name === eventType).schemas["1"].type, "object");
  },
  "event_type.get": async () => assert.equal((await svix.eventType.get(eventType)).description, "A user came"),
  "event_type.upsert": async () => {
    const schemas = { 1: { type: "object", examples: [{ text: "an example" }] } };
    assert.equal((await svix.eventType.upsert(eventType, { description: "Changed", schemas })).description, "Changed");
  },
  "event_type.patch": async () => {
    const patched = await svix.eventType.patch(eventType, { deprecated: true });
    assert.deepEqual([patched.deprecated, patched.description], [true, "Changed"]);
  },
  "event_type.delete": async () => {
    assert.equal(await svix.eventType.delete(`${eventType}.gone`), undefined);
    assert.equal((await svix.eventType.get(`${eventType}.gone`)).archived, true);
  },

  "endpoint.create": async () => {
    const made = await svix.endpoint.create(app, {
      url: receiver,
      uid: "first",
      description: "The judge's",
      channels: ["blue"],
      metadata: { k: "v" },
      headers: { "x-judge": "1" },
      throttleRate: 200,
      eventTypes: [eventType],
    });
    assert.deepEqual(
      [made.uid, made.url, made.channels, made.eventTypes, made.metadata, made.throttleRate],
      ["first", receiver, ["blue"], [eventType], { k: "v" }, 200],
    );
    isText(made, "id", "description");
    isDated(made, "createdAt", "updatedAt");
    known.endpoint = made;
    await svix.endpoint.create(app, { url: receiver, uid: "second", channels: ["other"] });
  },
  "endpoint.list": async () => {
    const found = await pages((iterator) => svix.endpoint.list(app, { limit: 1, iterator }));
    assert.deepEqual(found.map((one) => one.uid), ["second", "first"]);
  },
  "endpoint.get": async () => assert.deepEqual(await svix.endpoint.get(app, "first"), known.endpoint),
  "endpoint.upsert": async () => {
    const asked = { url: receiver, uid: "first", description: "Changed", eventTypes: [eventType] };
    const changed = await svix.endpoint.upsert(app, "first", asked);
    assert.deepEqual([changed.id, changed.description], [known.endpoint.id, "Changed"]);
    assert.equal((await svix.endpoint.upsert(app, "third", { url: receiver, uid: "third", disabled: true })).disabled, true);
  },
  "endpoint.patch": async () => {
    const patched = await svix.endpoint.patch(app, "first", { channels: ["blue", "red"] });
    assert.deepEqual([patched.channels, patched.description], [["blue", "red"], "Changed"]);
  },
  "endpoint.get_secret": async () => assert.match((await svix.endpoint.getSecret(app, "first")).key, /^whsec_/),
  "endpoint.rotate_secret": async () => {
    const before = await svix.endpoint.getSecret(app, "first");
    await svix.endpoint.rotateSecret(app, "first", { gracePeriodSeconds: 60 });
    assert.notEqual((await svix.endpoint.getSecret(app, "first")).key, before.key);
  },
  "endpoint.set_headers": async () => {
    const headers = { "x-judge": "2", authorization: "Bearer secret" };
    assert.equal(await svix.endpoint.setHeaders(app, "first", { headers }), undefined);
  },
  "endpoint.get_headers": async () => {
    const found = await svix.endpoint.getHeaders(app, "first");
    assert.equal(found.headers["x-judge"], "2");
    assert.deepEqual(found.sensitive.map((name) => name.toLowerCase()), ["authorization"]);
  },
  "endpoint.patch_headers": async () => {
    await svix.endpoint.patchHeaders(app, "first", { headers: { "x-more": "3" }, deleteHeaders: ["x-judge"] });
    assert.deepEqual((await svix.endpoint.getHeaders(app, "first")).headers, { "x-more": "3" });
  },

  "message.create": async () => {
    const made = await svix.message.create(
      app,
      { eventType, eventId: `event-${app}`, payload: PAYLOAD, channels: ["blue"], tags: ["judge"] },
      { withContent: true },
    );
    assert.deepEqual([made.payload, made.channels, made.tags], [PAYLOAD, ["blue"], ["judge"]]);
    assert.equal(made.eventId, `event-${app}`);
    isDated(made, "timestamp");
    known.message = made;
    const raw = await svix.message.create(app, messageInRaw("nobody.listens", "<raw>ö</raw>", "application/xml"));
    isText(raw, "id", "eventType");
  },
  "message.list": async () => {
    const found = await pages((iterator) => svix.message.list(app, { limit: 1, iterator }));
    assert.equal(found.length, 2);
    const options = { eventTypes: [eventType], channel: "blue", tag: "judge", withContent: true, after: began };
    assert.deepEqual((await svix.message.list(app, options)).data.map((one) => one.payload), [PAYLOAD]);
  },
  "message.get": async () => {
    const found = await svix.message.get(app, known.message.eventId, { withContent: true });
    assert.deepEqual(found.payload, PAYLOAD);
  },

  "message_attempt.list_by_msg": async () => {
    const attempts = await eventually(async () => {
      const found = await succeeded(known.message.id);
      return found.length > 0 && found;
    });
    assert.deepEqual(attempts.map((one) => one.endpointId), [known.endpoint.id]);
    isDated(attempts[0], "timestamp");
    isText(attempts[0], "id", "msgId", "response", "url", "statusText");
    known.attempt = attempts[0];
  },
  "message_attempt.list_by_endpoint": async () => {
    const options = { withMsg: true, withContent: true, statusCodeClass: 200, eventTypes: [eventType] };
    const found = await svix.messageAttempt.listByEndpoint(app, "first", options);
    assert.deepEqual(found.data.map((one) => one.id), [known.attempt.id]);
    assert.equal(found.data[0].msg.eventId, known.message.eventId);
  },
  "message_attempt.get": async () => {
    const found = await svix.messageAttempt.get(app, known.message.id, known.attempt.id);
    assert.deepEqual([found.id, Math.floor(found.responseStatusCode / 100)], [known.attempt.id, 2]);
    assert.equal(typeof found.responseDurationMs, "number");
  },
  "message_attempt.list_attempted_messages": async () => {
    const found = await svix.messageAttempt.listAttemptedMessages(app, "first", { status: 0, withContent: true });
    assert.deepEqual(found.data.map((one) => [one.id, one.payload, one.status]), [[known.message.id, PAYLOAD, 0]]);
    isDated(found.data[0], "timestamp");
  },
  "message_attempt.list_attempted_destinations": async () => {
    const found = await svix.messageAttempt.listAttemptedDestinations(app, known.message.id);
    assert.deepEqual(found.data.map((one) => [one.id, one.status]), [[known.endpoint.id, 0]]);
    isDated(found.data[0], "createdAt", "updatedAt");
  },
  "message_attempt.resend": async () => {
    await svix.messageAttempt.resend(app, known.message.id, "first");
    const attempts = await eventually(async () => {
      const found = await succeeded(known.message.id);
      return found.length > 1 && found;
    });
    assert.deepEqual(attempts.map((one) => one.triggerType).sort(), [0, 1]);
  },
  "message_attempt.expunge_content": async () => {
    assert.equal(await svix.messageAttempt.expungeContent(app, known.message.id, known.attempt.id), undefined);
    assert.equal((await svix.messageAttempt.get(app, known.message.id, known.attempt.id)).response, "EXPUNGED");
  },

  "endpoint.get_stats": async () => {
    const stats = await svix.endpoint.getStats(app, "first", { since: began });
    assert.deepEqual({ ...stats }, { success: 1, pending: 0, sending: 0, fail: 0, canceled: 0 });
  },
  "endpoint.send_example": async () => {
    const sent = await svix.endpoint.sendExample(app, "second", { eventType: "svix.ping" });
    await eventually(async () => (await succeeded(sent.id)).length > 0);
    assert.deepEqual((await svix.endpoint.sendExample(app, "first", { eventType })).payload, { text: "an example" });
  },
  "endpoint.recover": async () => {
    known.recover = await svix.endpoint.recover(app, "first", { since: began });
    assert.deepEqual([known.recover.task, known.recover.status], ["endpoint.recover", "running"]);
    isDated(known.recover, "updatedAt");
  },
  "endpoint.replay_missing": async () => {
    known.replay = await svix.endpoint.replayMissing(app, "first", { since: began });
    assert.equal(known.replay.task, "endpoint.replay");
  },
  "endpoint.bulk_replay": async () => {
    known.bulk = await svix.endpoint.bulkReplay(app, "first", { since: began, eventTypes: [eventType], status: 0 });
    assert.equal(known.bulk.task, "endpoint.bulk-replay");
  },
  "background_task.get": async () => {
    for (const { id } of [known.recover, known.replay, known.bulk]) {
      const done = await eventually(async () => {
        const task = await svix.backgroundTask.get(id);
        return task.status !== "running" && task;
      });
      assert.deepEqual([done.status, done.data.progress], ["finished", 1]);
    }
  },
  "background_task.list": async () => {
    const found = await pages((iterator) => svix.backgroundTask.list({ limit: 1, iterator }));
    const ids = found.map((one) => one.id);
    for (const { id } of [known.recover, known.replay, known.bulk]) assert.ok(ids.includes(id));
  },

  "operational_webhook.endpoint.create": async () => {
    const asked = { url: receiver, uid: `${app}-ops`, metadata: { k: "v" }, eventTypes: ["endpoint.created"] };
    known.operational = await svix.operationalWebhook.endpoint.create(asked);
    isText(known.operational, "id", "url", "description");
    isDated(known.operational, "createdAt", "updatedAt");
  },
  "operational_webhook.endpoint.list": async () => {
    const found = (await svix.operationalWebhook.endpoint.list()).data;
    assert.deepEqual(found.map((one) => one.id), [known.operational.id]);
  },
  "operational_webhook.endpoint.get": async () =>
    assert.deepEqual(await svix.operationalWebhook.endpoint.get(`${app}-ops`), known.operational),
  "operational_webhook.endpoint.upsert": async () => {
    const asked = { url: receiver, uid: `${app}-ops`, description: "Changed" };
    assert.equal((await svix.operationalWebhook.endpoint.upsert(`${app}-ops`, asked)).description, "Changed");
  },
  "operational_webhook.endpoint.get_secret": async () =>
    assert.match((await svix.operationalWebhook.endpoint.getSecret(known.operational.id)).key, /^whsec_/),
  "operational_webhook.endpoint.rotate_secret": async () => {
    const before = await svix.operationalWebhook.endpoint.getSecret(known.operational.id);
    await svix.operationalWebhook.endpoint.rotateSecret(known.operational.id);
    assert.notEqual((await svix.operationalWebhook.endpoint.getSecret(known.operational.id)).key, before.key);
  },
  "operational_webhook.endpoint.set_headers": async () =>
    assert.equal(
      await svix.operationalWebhook.endpoint.setHeaders(known.operational.id, { headers: { "x-ops": "1" } }),
      undefined,
    ),
  "operational_webhook.endpoint.get_headers": async () =>
    assert.deepEqual((await svix.operationalWebhook.endpoint.getHeaders(known.operational.id)).headers, { "x-ops": "1" }),
  "operational_webhook.endpoint.delete": async () => {
    assert.equal(await svix.operationalWebhook.endpoint.delete(known.operational.id), undefined);
    await isRefused(() => svix.operationalWebhook.endpoint.get(known.operational.id), 404, "not_found");
  },

  "message.expunge_content": async () => {
    assert.equal(await svix.message.expungeContent(app, known.message.id), undefined);
    const found = await svix.message.get(app, known.message.id, { withContent: true });
    assert.deepEqual(found.payload, { expired: true });
  },
  "authentication.app_portal_access": async () => {
    const access = await svix.authentication.appPortalAccess(app, { featureFlags: ["beta"] });
    assert.ok(access.url.includes(access.token));
    known.portal = new Svix(access.token, { serverUrl });
    assert.equal((await known.portal.endpoint.list(app)).data.length, 3);
  },
  "authentication.logout": async () => {
    assert.equal(await known.portal.authentication.logout(), undefined);
    // Until then a process that saw the token shortly before may take it; from then on none does.
    await sleep(REVOKED_WITHIN_MS);
    for (let count = 0; count < 5; count += 1)
      await isRefused(() => known.portal.endpoint.list(app), 401, "authentication_failed");
  },
  "endpoint.delete": async () => {
    assert.equal(await svix.endpoint.delete(app, "third"), undefined);
    await isRefused(() => svix.endpoint.get(app, "third"), 404, "not_found");
  },
  "application.delete": async () => {
    assert.equal(await svix.application.delete(`${app}-3`), undefined);
    await isRefused(() => svix.application.get(`${app}-3`), 404, "not_found");
  },

  "error.not_found": () => isRefused(() => svix.application.get("nobody"), 404, "not_found"),
  "error.conflict": () => isRefused(() => svix.application.create({ name: "Again", uid: app }), 409, "conflict"),
  "error.unauthenticated": () =>
    isRefused(() => new Svix("whk_live_nonsense", { serverUrl }).application.list(), 401, "authentication_failed"),
  "error.validation": () =>
    assert.rejects(
      () => svix.endpoint.create(app, { url: "ftp://example.com" }),
      (error) => error.code === 422 && error.body.detail[0].loc.includes("url"),
    ),
};

for (const [call, run] of Object.entries(STEPS)) {
  try {
    await run();
    console.log(JSON.stringify({ call, ok: true }));
  } catch (error) {
    const body = error instanceof ApiException ? JSON.stringify(error.body) : "";
    console.log(JSON.stringify({ call, ok: false, error: `${error} ${body}`.slice(0, 2000) }));
  }
}
