-- The metadata that was too large to ride the claim: read after its commit, a few at a time, so that
-- a worker which stops reading never leaves the server with the claim's rows locked.
select t.id, t.metadata::text from perdure.tasks as t where t.id = any (%(ids)s::bigint[])
