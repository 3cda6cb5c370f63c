import time, signal
from tests.test_faults import *
from tests.test_faults import stage, fragile
from pgqueue.worker.clock import boottime

def test_p_stop_db_away(fragile, own_server):
    stage=fragile
    w=stage.start(grace=2, lease=3)
    stage.ready(w)
    jobs=stage.enqueue(wait.job(gate="never"), wait_in_thread.job(gate="never"))
    stage.until_started(*jobs)
    stage.disconnect()
    own_server.stop()
    t=time.monotonic()
    w.terminate()
    code=w.wait(within=60)
    print("EXIT", code, time.monotonic()-t); print(w.log)
    own_server.start()
    assert 0

def test_p_pending_outcome(stage):
    w=stage.start(lease=3)
    stage.ready(w)
    a,b=stage.enqueue(quick.job(), blocking.job())
    print("EXIT", w.wait(within=60)); print(w.log)
    print(stage.job(a)); print(stage.attempts(a), stage.attempts(b))
    assert 0

def test_p_stop_blocked(stage):
    w=stage.start(lease=3, grace=1)
    stage.ready(w)
    a,b=stage.enqueue(block.job(seconds=20), wait_in_thread.job(gate="never"))
    stage.until_started(a)
    t=time.monotonic()
    w.terminate()
    code=w.wait(within=60)
    print("EXIT", code, time.monotonic()-t); print(w.log)
    print(stage.attempts(a), stage.attempts(b))
    assert 0

def test_p_stop_tx(stage):
    stage.sql(EFFECTS)
    w=stage.start(lease=3, grace=1)
    stage.ready(w)
    a,=stage.enqueue(effect.job(gate="never"))
    stage.until_started(a)
    t=time.monotonic()
    w.terminate()
    code=w.wait(within=60)
    print("EXIT", code, time.monotonic()-t); print(w.log)
    print(stage.attempts(a), stage.job(a), stage.sql("select * from effects"))
    assert 0
