"""Settings, all from the environment. The README beside the package lists them."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_HOST = r"(?:\[[^\]]*\]|[^/?#@:,\[]*)(?::\d*)?"
_POSTGRESQL = re.compile(rf"postgres(?:ql)?://(?:[^/?#]*@)?{_HOST}(?:,{_HOST})*(?:[/?].*)?", re.DOTALL)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _http(url: str) -> str:
    """The URL, if it is one of http."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL such as http://host:8080")
    return url


def _duration(value: object) -> object:
    """`90s`, `30m`, `6h` or `2d`; anything else, seconds for instance, is left to pydantic."""
    found = re.fullmatch(r"\s*(\d+)\s*([smhd])\s*", value) if isinstance(value, str) else None
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else value


HttpUrl = Annotated[str, AfterValidator(_http)]


class Settings(BaseSettings):
    """One field a variable of the same name in capitals; an empty one is as none.

    Raises:
        pydantic.ValidationError: a required variable is missing or a value does not fit; its text names the variable.
    """

    model_config = SettingsConfigDict(hide_input_in_errors=True, extra="ignore", env_ignore_empty=True)

    database_url: SecretStr
    """`postgresql://user:password@host/name`, or with `?host=/folder/of/the/socket`."""
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")

    webhook_secret: SecretStr | None = None
    """Value that Evolution sends in the header `X-Webhook-Secret`."""
    webhook_jwt_key: SecretStr | None = None
    """Key of the HS256 bearer token that Evolution makes from its `jwt_key` header setting."""
    webhook_max_body_bytes: int = Field(10 * 1024 * 1024, gt=0)
    """Media come as base64 within the body."""
    database_pool_size: int = Field(10, gt=0)
    database_pooler: bool = False
    """A pooler in transaction mode (PgBouncer, Supabase) is before PostgreSQL: nothing may outlive a transaction."""

    evolution_api_url: HttpUrl = "http://127.0.0.1:8085"
    evolution_api_key: SecretStr = SecretStr("")
    clinic_time_zone: ZoneInfo = ZoneInfo("America/Sao_Paulo")
    """IANA's name. Of every time that patients read."""
    replies_per_sender_per_minute: int = Field(20, gt=0)
    """Beyond it messages are still stored, but not answered: two bots would answer each other for ever."""

    answer_within: Annotated[timedelta, BeforeValidator(_duration)] = timedelta(hours=6)
    """An older message is stored and remembered, but not answered. `6h`, `90m`, or seconds."""
    kept_deliveries: int = Field(10_000, ge=0)
    """Deliveries that were not understood and are kept, at most; the oldest go first."""
    kept_bytes: int = Field(256 * 1024 * 1024, ge=0)
    kept_days: int = Field(30, gt=0)

    embeddings_url: HttpUrl = "http://127.0.0.1:8085/v1"
    embeddings_api_key: SecretStr = SecretStr("unused")
    embeddings_model: str = "text-embedding-3-small"
    embeddings_dimensions: int = Field(64, gt=0)
    mem0_dir: str = "/tmp/mem0"  # noqa: S108 - holds no patient's data
    """mem0 insists on a writable folder, for its own settings."""

    llm_url: HttpUrl | None = None
    """OpenAI-compatible API (ends with /v1) that answers the COMPLEX lane; without it a person is announced."""
    llm_api_key: SecretStr = SecretStr("unused")
    llm_model: str = "gpt-4o-mini"

    job_attempts: int = Field(20, gt=0)
    """Then a job is dead, about two hours after its first failure."""
    job_backoff_seconds: float = Field(5.0, gt=0)
    """Wait after the first failure; doubled at each further one, at most 10 minutes."""
    reply_refusals: int = Field(8, gt=0)
    """Then a reply that Evolution refuses is dead, about ten minutes after the first refusal."""
    heartbeat_file: Path | None = None
    """The worker touches it whenever it could look into the outbox; its age is the worker's health."""

    collector_metrics_url: HttpUrl = "http://127.0.0.1:8889/metrics"
    collector_health_url: HttpUrl = "http://127.0.0.1:13133/"
    prometheus_query_url: HttpUrl | None = None
    """Who answers `/metrics` and `/metrics/summary` where there are several Collectors; without it the one is asked."""
    demo_catalog: bool = False
    """Fill an empty catalogue with invented prices, answers and free slots."""
    log_level: Literal["debug", "info", "warning", "warn", "error", "critical"] = "info"
    outbound_proxy: SecretStr | None = None
    """`http://user:password@host:port`, for Evolution, the model and the embeddings where they are outside."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

    @field_validator("outbound_proxy")
    @classmethod
    def _http_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy:
            _http(proxy.get_secret_value())
        return proxy

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, url: SecretStr) -> SecretStr:
        if not _POSTGRESQL.fullmatch(url.get_secret_value()):
            raise ValueError("must be a URL such as postgresql://user:password@host/name")
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must be a URL such as redis://host:6379/0")
        return url

    @field_validator("clinic_time_zone", mode="before")
    @classmethod
    def _known_zone(cls, name: object) -> ZoneInfo:
        try:
            return ZoneInfo(str(name))
        except (KeyError, ValueError, OSError):  # unknown; a path; a folder of the zones
            raise ValueError("no such time zone: CLINIC_TIME_ZONE is a name such as America/Sao_Paulo") from None

    @model_validator(mode="after")
    def _fail_closed(self) -> Self:
        if not self.webhook_secret and not self.webhook_jwt_key:
            raise ValueError(
                "set WEBHOOK_SECRET or WEBHOOK_JWT_KEY: without one nobody could tell Evolution from a stranger"
            )
        return self
