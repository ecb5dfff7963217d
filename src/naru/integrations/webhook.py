"""The webhook: tells another service by POST that addresses run out. docs/how-to/watch-capacity.md"""

import hashlib
import hmac

import httpx
import structlog

from naru import settings
from naru.model.errors import Unavailable

_log = structlog.get_logger("naru.webhook")

ANSWER_S = 10.0  # so long may the receiver take


def open_webhook(scheduler: settings.Scheduler) -> "Webhook | None":
    """None: none is wanted. Raises SettingsError for what is no URL. Asks nobody yet."""
    if not scheduler.webhook_url:
        return None
    if not scheduler.webhook_url.startswith(("http://", "https://")):
        raise settings.SettingsError(f"scheduler.webhook_url is no URL: {scheduler.webhook_url}")
    return Webhook(scheduler.webhook_url, scheduler.webhook_secret)


class Webhook:
    """Lives on one event loop."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret.encode()
        self._http = httpx.AsyncClient(timeout=ANSWER_S)

    async def close(self) -> None:
        await self._http.aclose()

    async def post(self, delivery: str, body: bytes) -> None:
        """Raises Unavailable where it was not taken: another status than 2xx. A delivery comes twice where an answer was lost."""
        headers = {"Content-Type": "application/json", "X-Naru-Delivery": delivery}
        if self._secret:
            headers["X-Naru-Signature-256"] = f"sha256={hmac.new(self._secret, body, hashlib.sha256).hexdigest()}"
        try:
            (await self._http.post(self._url, content=body, headers=headers)).raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("the webhook was not taken", url=self._url, delivery=delivery, error=repr(error))
            raise Unavailable(f"The webhook did not take delivery {delivery}: {error!r}") from None
