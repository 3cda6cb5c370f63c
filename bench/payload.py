"""What every job that is measured carries: some hundred bytes of JSON."""

import json
from typing import Any

PAD = "x" * 52


def payload(number: int) -> dict[str, Any]:
    return {"user_id": number, "template": "welcome", "pad": PAD}


PAYLOAD = json.dumps(payload(123456))

WARM_UP = 12
"""So many rows a connection enqueues before the clock starts: the server plans a statement anew at
the first few executions, of which a long-lived connection sees nothing."""
