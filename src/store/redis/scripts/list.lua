-- All questions that are open or whose answer still counts.

local open_ones = {}
for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', open_key, '(' .. whole(now), '+inf')) do
  local question = open(ticket)
  if question then
    open_ones[#open_ones + 1] = listed(question)
  end
end
return open_ones
