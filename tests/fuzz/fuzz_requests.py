"""`python -m tests.fuzz.fuzz_requests [--seconds N] [folder …]`: any request for a picture, by `request_target`."""

from __future__ import annotations

from tests.fuzz import campaign

if __name__ == "__main__":
    campaign.run(
        campaign.Campaign(
            "requests",
            ("tests.fuzz.request_target", "check"),
            ("app", "starlette.formparsers", "starlette.requests", "python_multipart", "urllib.parse"),
            flags=(f"-dict={campaign.CORPUS / 'requests.dict'}",),
        )
    )
