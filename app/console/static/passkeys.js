// Answers the challenge that a form carries with a passkey, then sends the form.
"use strict";

const failed = (form, sentence) => {
  const line = form.querySelector("[role=alert]");
  line.textContent = sentence;
  line.hidden = false;
};

const ask = async (form) => {
  const options = JSON.parse(form.dataset.options);
  if (form.dataset.passkey === "create") {
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
};

const answer = async (event) => {
  const form = event.target;
  event.preventDefault();
  try {
    form.elements.credential.value = JSON.stringify(await ask(form));
    form.submit();
  } catch (error) {
    const again = error.name === "InvalidStateError" ? "This device has a passkey of yours already." : "Nothing was done: your device did not answer. Try again.";
    failed(form, again);
  }
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (globalThis.PublicKeyCredential?.parseRequestOptionsFromJSON) {
    form.hidden = false;
    form.addEventListener("submit", answer);
  } else {
    failed(form, "This browser cannot use passkeys.");
  }
}
