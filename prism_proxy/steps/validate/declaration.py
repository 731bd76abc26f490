"""What the schema step declares. Imports no code that validates."""

from __future__ import annotations

from prism_proxy.contracts.steps import Place, StepDeclaration
from prism_proxy.steps.validate.options import SchemaOptions

DECLARATION = StepDeclaration("schema", "Declares a schema, and validates against it.",
                              "prism_proxy.steps.validate.step:SchemaStep", SchemaOptions, Place.VALIDATE)
