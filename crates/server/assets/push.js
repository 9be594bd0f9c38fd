// Offers to tell of the order although its page is closed, where the browser can.
(() => {
  const button = document.querySelector("[data-push]");
  if (!button || !("serviceWorker" in navigator) || !("PushManager" in window)) return;
  const word = document.querySelector("[data-push-word]");
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      if ((await Notification.requestPermission()) !== "granted") throw new Error("the browser was not allowed to");
      await navigator.serviceWorker.register("/service-worker.js");
      const registration = await navigator.serviceWorker.ready;
      const subscription = await registration.pushManager.subscribe({
        userVisibleOnly: true,
        applicationServerKey: bytes(button.dataset.key),
      });
      const answer = await fetch(button.dataset.push, {
        method: "PUT",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(subscription),
      });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      word.textContent = "This browser will tell you.";
      button.hidden = true;
    } catch (error) {
      word.textContent = `That did not work: ${error.message}`;
      button.disabled = false;
    }
  });
})();
