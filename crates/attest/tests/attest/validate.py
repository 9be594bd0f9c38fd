"""Holds an image's documents to their specifications with the reference validators, as far as these exist.

Usage: validate.py SPDX CYCLONEDX PROVENANCE. Prints what is wrong, a line each, and ends with 1 if anything is.
"""
import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

spdx, cyclonedx, provenance = sys.argv[1:4]
wrong = []

document = parse_file(spdx)
wrong += [f"SPDX: {message.validation_message}" for message in validate_full_spdx_document(document, "SPDX-2.3")]

text = open(cyclonedx).read()
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
wrong += [f"CycloneDX: {error}"] if error else []
for component in json.loads(text)["components"]:
    if "purl" in component:
        url = PackageURL.from_string(component["purl"])
        whole = (url.namespace, url.name, url.version) == (component["group"], component["name"], component["version"])
        if url.to_string() != component["purl"] or not whole:
            wrong.append(f"purl: {component['purl']} is {url.to_string()} in its canonical form")

message = json_format.Parse(open(provenance).read(), statement_pb2.Statement())
try:
    Statement.copy_from_pb(message).validate()
except (ValueError, TypeError) as error:
    wrong.append(f"in-toto: {error}")
if message.predicate_type != "https://slsa.dev/provenance/v1":
    wrong.append(f"in-toto: the predicate is {message.predicate_type}")

print("\n".join(wrong))
sys.exit(1 if wrong else 0)
