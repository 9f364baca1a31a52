-- Ends a session of this login's own whose claim was never answered, and waits until it is gone: only
-- then can its leases be read.
select perdure.end_session(%(pid)s::integer)
