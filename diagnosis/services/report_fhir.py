"""A report as FHIR R4: a document, as the laboratory report of HL7 Europe is one.

A signed report is a document in FHIR's sense, fixed and attested: a bundle that begins with a Composition, which says
who signed it and which version it takes the place of. Systems that look for results find the one DiagnosticReport in
it, of the same identifier, type, category and subject. Resources are plain JSON; tests hold them to `fhir.resources`,
whose R4B module stands for R4 there (the resources used here are the same in both).

The patient is the pseudonym alone. Nothing here reads the database: a document and where it is served are all it takes.
"""

from __future__ import annotations

import base64
import uuid
from html import escape
from typing import Final

from diagnosis.services import report_fhir_codes as codes
from diagnosis.services.report_fhir_observations import Observed, Refers, Resource, observations
from diagnosis.services.report_fhir_surroundings import people, surroundings
from diagnosis.services.report_schema import Document

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:leukoscope:report")


def bundle(*, document: Document, base_url: str = codes.NOWHERE, pdf: bytes | None = None) -> Resource:
    """The document bundle of a report.

    `base_url` is where the installation is served, without the last slash; identifiers belong to it. With `pdf`, the
    printed report lies inside as well.
    """
    return _Writer(document, base_url.rstrip("/"), pdf).bundle()


class _Writer:
    def __init__(self, document: Document, base: str, pdf: bytes | None) -> None:
        self.document, self.content, self.base, self.pdf = document, document["content"], base, pdf
        self.case = self.content["case"]
        signed = self.content["signature"] is not None
        self.version = f"{self.case['id']}/{self.content['number'] if signed else self.content['made_at']}"
        self.entries: list[Resource] = []
        self.refers = Refers(
            patient=self._url("patient"),
            specimen=self._url("specimen"),
            organization=self._url("organization"),
            devices={
                f"{one['task']}/{one['name']}": self._url(f"device-{one['bundle_sha256']}")
                for one in self.content["models"]
            },
            media={one["id"]: self._url(f"media-{one['id']}") for one in self.content["images"]},
            practitioners={key: self._url(f"practitioner-{key}") for key in people(self.content)},
        )

    @property
    def _stamp(self) -> str:
        signature = self.content["signature"]
        return signature["signed_at"] if signature is not None else self.content["made_at"]

    def _url(self, name: str) -> str:
        """The same name in the same version of a report is the same resource, whenever it is asked for."""
        return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{self.base} {self.version} {name}')}"

    def _add(self, name: str, resource: Resource) -> str:
        url = self._url(name)
        kept = {key: value for key, value in resource.items() if value not in (None, [], "")}
        self.entries.append({"fullUrl": url, "resource": {**kept, "id": url.removeprefix("urn:uuid:")}})
        return url

    def bundle(self) -> Resource:
        found = [(one, self._url(one.name)) for one in observations(self.content, self.refers)]
        panel = self._panel(found)
        results = [
            *([self._url("differential")] if panel else []),
            *(url for one, url in found if not one.in_panel),
        ]
        report = self._url("report")
        self._add("composition", self._composition(report, results))
        self._add("report", self._report(results))
        if panel:
            self._add("differential", panel)
        for one, _ in found:
            self._add(one.name, one.resource)
        for name, resource in surroundings(self.content, self.refers, self.base):
            self._add(name, resource)
        return {
            "resourceType": "Bundle",
            "id": self._url("bundle").removeprefix("urn:uuid:"),
            "identifier": {"system": f"{self.base}/reports/versions", "value": self.version},
            "type": "document",
            "timestamp": self.content["made_at"] if self.document["seal"] is None else self._stamp,
            "entry": self.entries,
        }

    @property
    def _identifier(self) -> Resource:
        return {"system": f"{self.base}/reports", "value": str(self.case["id"])}

    def _report(self, results: list[str]) -> Resource:
        signature = self.content["signature"]
        readers = [self.refers.practitioners[signature["user_id"]]] if signature is not None else []
        return {
            "resourceType": "DiagnosticReport",
            "extension": [
                {
                    "url": codes.COMPOSITION_OF_REPORT,
                    "valueReference": {"reference": self._url("composition")},
                }
            ],
            "identifier": [self._identifier],
            "status": self.content["status"],
            "category": codes.HEMATOLOGY,
            "code": codes.concept("Smear report", codes.loinc(codes.LABORATORY_REPORT)),
            "subject": {"reference": self.refers.patient},
            "effectiveDateTime": self.case["received_on"],
            "issued": self._stamp,
            "performer": [{"reference": self.refers.organization}],
            "resultsInterpreter": _references(readers),
            "specimen": [{"reference": self.refers.specimen}],
            "result": _references(results),
            "media": [
                {"comment": f"Image {one['position']}", "link": {"reference": self.refers.media[one["id"]]}}
                for one in self.content["images"]
            ],
            "conclusion": self.content["conclusion"],
            "presentedForm": self._printed(),
        }

    def _printed(self) -> list[Resource]:
        if self.pdf is None:
            return []
        data = base64.b64encode(self.pdf).decode("ascii")
        return [
            {
                "contentType": "application/pdf",
                "language": "en",
                "data": data,
                "title": "The report as printed",
            }
        ]

    def _composition(self, report: str, results: list[str]) -> Resource:
        signature, amendment = self.content["signature"], self.content["amendment"]
        author = self.refers.organization
        if signature is not None:
            author = self.refers.practitioners[signature["user_id"]]
        return {
            "resourceType": "Composition",
            "identifier": self._identifier,
            "status": self.content["status"],
            "type": codes.concept("Smear report", codes.loinc(codes.LABORATORY_REPORT)),
            "category": codes.HEMATOLOGY,
            "subject": {"reference": self.refers.patient},
            "date": self._stamp,
            "author": [{"reference": author}],
            "title": f"Smear report {self.case['accession_number']}",
            "attester": [{"mode": "legal", "time": signature["signed_at"], "party": {"reference": author}}]
            if signature is not None
            else [],
            "custodian": {"reference": self.refers.organization},
            "relatesTo": [
                {
                    "code": "replaces",
                    "targetIdentifier": {
                        "system": f"{self.base}/reports/versions",
                        "value": f"{self.case['id']}/{amendment['amends']}",
                    },
                }
            ]
            if amendment is not None
            else [],
            "section": self._sections(report, results),
        }

    def _sections(self, report: str, results: list[str]) -> list[Resource]:
        content, signature, seal = self.content, self.content["signature"], self.document["seal"]
        sections: list[Resource] = [
            _section("Conclusion", [content["conclusion"] or "The report is not signed."], [report]),
            _section("Results", [], results),
            _section("Smear images", [], list(self.refers.media.values())),
            _section("Model versions", [], list(self.refers.devices.values())),
            _section("Limits", content["limits"], []),
        ]
        if content["amendment"] is not None:
            changes = [f"{one['what']}: {one['old'] or 'nothing'} → {one['new'] or 'nothing'}"
                       for one in content["amendment"]["changes"]]  # fmt: skip
            sections.append(_section("Amendment", [content["amendment"]["reason"], *changes], []))
        if signature is not None:
            said = [f"{signature['name']}, {signature['role']}, {signature['signed_at']}", signature["meaning"],
                    *signature["statements"]]  # fmt: skip
            if seal is not None:
                said += [f"SHA-256 of what was signed: {seal['sha256']}", f"Audit head: {seal['audit_head']}"]
            sections.append(_section("Electronic signature", said, []))
        return [one for one in sections if "text" in one or "entry" in one]

    def _panel(self, found: list[tuple[Observed, str]]) -> Resource:
        members = [(one, url) for one, url in found if one.in_panel]
        if not members:
            return {}
        specimen, cells = self.case["specimen"], self.content["leukocytes"]
        base = {key: value for key, value in members[0][0].resource.items() if key in _OF_THE_PANEL}
        return base | {
            "code": codes.concept("Differential count", codes.loinc(codes.DIFFERENTIAL[specimen])),
            "hasMember": _references([url for _, url in members]),
            "note": [
                {
                    "text": f"{cells['reader']['counted']} leukocytes counted. {cells['sufficiency_words']}".strip()
                }
            ],
        }


_OF_THE_PANEL: Final = (
    "resourceType", "status", "category", "subject", "effectiveDateTime", "specimen", "performer",
)  # fmt: skip


def _references(urls: list[str]) -> list[Resource]:
    return [{"reference": url} for url in urls]


def _section(title: str, paragraphs: list[str], entries: list[str]) -> Resource:
    section: Resource = {"title": title}
    said = "".join(f"<p>{escape(text)}</p>" for text in paragraphs if text)
    if said:
        section["text"] = {
            "status": "generated",
            "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{said}</div>',
        }
    if entries:
        section["entry"] = _references(entries)
    return section
