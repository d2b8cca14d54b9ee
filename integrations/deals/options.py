"""The settings of the deals."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from setting_values import duration, url
from settings import Part


class DealSettings(Part):
    """How Bitrix24 is called."""

    webhook_carex: Annotated[SecretStr | None, BeforeValidator(url("http", "https"))] = Field(
        default=None, examples=["https://example.bitrix24.ru/rest/1/…/"]
    )
    tech_account: str = Field(default="1111", examples=["1111"])
    #: Requests a second, of all processes together.
    bitrix_rate: Annotated[float, Field(gt=0, le=1000)] = Field(default=2.0, examples=["2"])
    #: Deals that share a request, where several wait; 1: each has its own.
    bitrix_batch: Annotated[int, Field(ge=1, le=50)] = Field(default=50, examples=["50"])
    bitrix_attempts: Annotated[int, Field(ge=1, le=20)] = Field(default=5, examples=["5"])
    #: Seconds.
    bitrix_timeout: Annotated[float, BeforeValidator(duration(0.1, 600))] = Field(default=30.0, examples=["30"])
    bitrix_pause: Annotated[float, BeforeValidator(duration(0.01, 60))] = Field(default=1.0, examples=["1"])
