-- Whether the server takes writes, and whether it keeps them: what is thrown away to make room is counted no more.

redis.call('SET', base .. ':probe', whole(now), 'PX', SLACK)
local memory = redis.call('INFO', 'memory')
local bound = string.match(memory, 'maxmemory:(%d+)')
local policy = string.match(memory, 'maxmemory_policy:([%w-]+)')
return {life(), bound ~= '0' and policy or 'noeviction'}
