"""Two pages beside Prefect's UI: one that takes its password from a link, and one that shows a page of a run.

Prefect's UI keeps the password in the browser, as it is sent with every request: so do these. They hold nothing of the
project themselves, so whoever asks may have them.
"""

import base64
import hashlib

from starlette.requests import Request
from starlette.responses import HTMLResponse

# What the UI calls the password, and how it writes it down.
KEY = "prefect-password"
# A password that the server does not take never replaces one that it does.
ENTER = f"""
const given = btoa(decodeURIComponent(location.hash.slice(1)));
fetch("/api/admin/version", {{headers: {{Authorization: "Basic " + given}}}}).then(answer => {{
  if (answer.ok) localStorage.setItem("{KEY}", given);
  location.replace("/");
}});
"""
# A report brings scripts along. In a sandbox they run as a page of no origin, which can neither read the password nor
# ask this server for anything.
REPORT = f"""
const run = location.pathname.split("/").pop();
const password = localStorage.getItem("{KEY}");
fetch("/api/reports/" + run + ".html", {{headers: {{Authorization: "Basic " + password}}}}).then(async answer => {{
  if (answer.ok) {{
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts allow-downloads";
    frame.srcdoc = await answer.text();
    document.body.replaceChildren(frame);
  }} else if (answer.status == 401) {{
    document.body.textContent = "Open the UI by the link that 'make ui' prints, then come back to this page.";
  }} else {{
    document.body.textContent = "The report of this run is no longer kept: 'make run' writes the last one anew.";
  }}
}});
"""
STYLE = "<style>iframe { position: fixed; inset: 0; width: 100%; height: 100%; border: 0 }</style>"


async def enter(request: Request) -> HTMLResponse:
    """Keep the password behind the # for the UI, and go there."""
    digest = base64.b64encode(hashlib.sha256(ENTER.encode()).digest()).decode()
    return _page(f"<script>{ENTER}</script>", f"script-src 'sha256-{digest}'")


async def report(request: Request) -> HTMLResponse:
    """Show the report of the run that the path names."""
    # What is in the frame is bound by this too, so it asks no other host for anything.
    inline = "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
    return _page(f"{STYLE}<body></body><script>{REPORT}</script>", inline)


def _page(content: str, allowed: str) -> HTMLResponse:
    policy = f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; connect-src 'self'; {allowed}"
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": policy}
    return HTMLResponse(f"<!doctype html><meta charset=utf-8><title>graftline</title>{content}", headers=headers)
