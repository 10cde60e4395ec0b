"""The JSON answers of the service, as pydantic models. Knows no routes and no statuses."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ErrorItem(BaseModel):
    """One error."""

    title: str = Field(examples=["Failed to read image"])
    code: str = Field(description="Stable name to branch on.", examples=["failed_to_read_image"])
    detail: str = Field(
        description="A sentence for a person.", examples=["The JPEG file is truncated or damaged."]
    )


class ErrorBody(BaseModel):
    """The body of every error answer."""

    errors: list[ErrorItem]
    request_id: str = Field(examples=["0f8fad5bd9cb469fa16570867728950e"])


class ModelItem(BaseModel):
    """A model in service."""

    model_config = ConfigDict(protected_namespaces=())

    name: str = Field(examples=["portrait"])
    version: str = Field(examples=["1"])
    role: Literal["default", "kept", "shadow"] = Field(
        description="`default` answers requests that name no model, `kept` those that name it, `shadow` none."
    )
    device: str = Field(description="Where it runs.", examples=["cpu"])
    runtime: str = Field(description="What runs it: openvino or tensorflow.", examples=["openvino"])
    precision: str = Field(description="float32 or bfloat16.", examples=["bfloat16"])
    input_size: int = Field(description="Side of the network's square input, in pixels.", examples=[320])
    sha256: str = Field(description="Digest over all files of the model.")
    metrics: dict[str, float] = Field(
        description='"<split>/<metric>" to its value, measured on the artifact.'
    )
    licence: str
    architecture: str
    parameters: int = Field(description="Number of trained values.")


class ModelList(BaseModel):
    """Answer of GET /v1/models."""

    models: list[ModelItem]


class Health(BaseModel):
    """Answer of GET /healthz, and of GET /readyz when the service is ready."""

    status: str = Field(examples=["ok"])


class Index(BaseModel):
    """Answer of GET /: links to the other routes."""

    service: str = "u2matte"
    links: dict[str, str]


class Credits(BaseModel):
    """remove.bg's four balances."""

    total: int = Field(examples=[3_000_000])
    subscription: int = Field(examples=[1_000_000])
    payg: int = Field(description="Pay as you go.", examples=[1_000_000])
    enterprise: int = Field(examples=[1_000_000])


class FreeCalls(BaseModel):
    """How often remove.bg's API may be called for nothing."""

    free_calls: int = Field(examples=[1_000_000])
    sizes: Literal["all"] = Field(description="Which sizes these calls may ask for.")


class AccountAttributes(BaseModel):
    """What remove.bg knows of an account. Its Ruby client takes these names and no others."""

    credits: Credits
    api: FreeCalls


class AccountData(BaseModel):
    """The one thing in the answer."""

    attributes: AccountAttributes


class Account(BaseModel):
    """Answer of GET /v1.0/account."""

    data: AccountData
