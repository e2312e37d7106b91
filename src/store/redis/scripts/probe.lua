-- Whether the server takes writes, and which life of it this is.
redis.call('SET', base .. ':probe', whole(now), 'PX', SLACK)
return life()
