// Passkeys: forms marked data-passkey ask the browser for one and send what it answers.
//   create: make one, with the options on the page      get: show one, with the options on the page
//   login:  show any one, with options fetched now (the page may have stood open for long)

const fromBase64url = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0)).buffer;

function toBase64url(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}

const descriptors = (list) => (list ?? []).map((d) => ({ ...d, id: fromBase64url(d.id) }));

/** The options as the browser wants them: the server writes every buffer as base64url. */
function decoded({ publicKey, ...rest }) {
  const options = { ...publicKey, challenge: fromBase64url(publicKey.challenge) };
  if (publicKey.user) options.user = { ...publicKey.user, id: fromBase64url(publicKey.user.id) };
  if (publicKey.excludeCredentials) options.excludeCredentials = descriptors(publicKey.excludeCredentials);
  if (publicKey.allowCredentials) options.allowCredentials = descriptors(publicKey.allowCredentials);
  return { ...rest, publicKey: options };
}

/** The credential as the server reads it. */
function encoded(credential) {
  const { response } = credential;
  const parts = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const answer = {};
  for (const part of parts) if (response[part]) answer[part] = toBase64url(response[part]);
  if (response.getTransports) answer.transports = response.getTransports();
  return {
    type: credential.type,
    id: credential.id,
    rawId: toBase64url(credential.rawId),
    authenticatorAttachment: credential.authenticatorAttachment,
    clientExtensionResults: credential.getClientExtensionResults(),
    response: answer,
  };
}

async function optionsOf(form) {
  if (form.dataset.passkey !== "login") return JSON.parse(document.getElementById("passkey-options").textContent);
  const response = await fetch(form.action, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (!response.ok) throw new Error("The server gives no passkey options.");
  return (await response.json()).request_options;
}

async function ask(form) {
  const options = await optionsOf(form);
  if (form.dataset.passkey !== "create") return navigator.credentials.get(decoded(options));
  const alone = form.elements.namedItem("passwordless").checked;
  const wanted = { ...options.publicKey.authenticatorSelection, requireResidentKey: alone };
  wanted.residentKey = alone ? "required" : "discouraged";
  if (alone) wanted.userVerification = "required";
  const publicKey = { ...options.publicKey, authenticatorSelection: wanted };
  return navigator.credentials.create(decoded({ ...options, publicKey }));
}

const SENTENCES = {
  InvalidStateError: "This device holds a passkey of this account already.",
  NotAllowedError: "No passkey was given: the browser was told no, or nobody answered.",
  SecurityError: "Passkeys need this page at a name with https://, or at http://localhost.",
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const problem = form.querySelector("[role=alert]");
  const say = (sentence) => {
    problem.textContent = sentence;
    problem.hidden = !sentence;
  };
  if (window.PublicKeyCredential) form.hidden = false;
  else if (form.dataset.passkey === "create") say(SENTENCES.SecurityError);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    try {
      form.elements.namedItem("credential").value = JSON.stringify(encoded(await ask(form)));
      form.submit();
    } catch (error) {
      say(SENTENCES[error.name] ?? "The passkey could not be used; try again.");
    }
  });
}
