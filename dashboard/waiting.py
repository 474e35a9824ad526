"""Does anybody still wait for what the running script puts together? Not after its page was left, closed or asked for
again with other filters: its queries end then, instead of running on beside those of the next run."""

from __future__ import annotations

from collections.abc import Callable

from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests, ScriptRequestType


def awaited() -> Callable[[], bool] | None:
    """Asks on behalf of the script of this thread; None outside of one."""
    context = get_script_run_ctx(suppress_warning=True)
    if context is None or context.script_requests is None:
        return None
    requests = context.script_requests
    return lambda: goes_on(requests)


def goes_on(requests: ScriptRequests) -> bool:
    """Would the script run on past its next element? Streamlit has no way of asking that does not take the request."""
    data = requests._rerun_data
    beside = bool(data.fragment_id_queue) and not data.is_fragment_scoped_rerun  # a fragment waits for its page
    return requests._state is ScriptRequestType.CONTINUE or (requests._state is ScriptRequestType.RERUN and beside)
