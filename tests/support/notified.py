"""What a notification is about."""

from tools.write.notifications import Request


def alert_of(request: Request) -> str:
    """The alert's name, in the words of whichever receiver it was sent to."""
    body = request.body
    if "attachments" in body:
        return str(body["attachments"][0]["title"].split()[1])
    if "payload" in body:
        return str(body["payload"]["class"])
    return str((body.get("groupLabels") or body["details"])["alertname"])
