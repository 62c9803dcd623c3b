-- Managed by Pulumi from templates/rspamd/rspamd.local.lua.j2: a change made here is lost at the next `pulumi up`.
-- https://rspamd.com/doc/lua/rspamd_task.html. rspamd has no module that compares a header with the login.
--
-- What people may submit. It runs before mail is counted or signed, and sees nothing that comes in on port 25.

local rspamd_util = require "rspamd_util"
local priorities = require("lua_util").symbols_priorities

-- Who may send as whom, as Postfix reads it: a table of our own would be late after a change.
local SENDER_LOGINS = "/etc/postfix/sender_logins"
local known = {}

-- One message has no more recipients than an hour: ratelimit lets the first one through, whatever its size.
local limits = (rspamd_config:get_all_opt("ratelimit") or {}).rates
local most_recipients = limits and limits.recipients.bucket.burst or math.huge

local function sender_logins()
  local failed, file = rspamd_util.stat(SENDER_LOGINS)
  if failed then
    return nil
  end
  if file.mtime ~= known.mtime or file.size ~= known.size then
    local logins = {}
    for line in io.lines(SENDER_LOGINS) do
      local address, allowed = line:match("^([^#%s]%S*)%s+(.+)$")
      if address then
        logins[address] = allowed
      end
    end
    known = { mtime = file.mtime, size = file.size, logins = logins }
  end
  return known.logins
end

-- As Postfix looks a sender up: the address, then without its +tag, then its domain; the first that is there decides.
local function may_send_as(logins, login, address)
  local name, domain = address:match("^(.+)@([^@]+)$")
  if not name then
    return false
  end
  local allowed = logins[address] or logins[name:match("^.[^+]*") .. "@" .. domain] or logins["@" .. domain] or ""
  for one in allowed:gmatch("[^,%s]+") do
    if one == login then
      return true
    end
  end
  return false
end

-- What is wrong with the address people will see as the sender (RFC 5322 section 3.6.2); nil for nothing.
local function wrong_sender(task, logins, login)
  local headers = task:get_header_full("From") or {}
  if #headers ~= 1 then
    -- Programs disagree on which one they show and check.
    return string.format("a message has one From header, not %d", #headers)
  end
  local senders = rspamd_util.parse_mail_address(headers[1].value, task:get_mempool()) or {}
  if #senders == 0 or senders[1].addr == "" then
    return "the From header holds no address"
  end
  for _, sender in ipairs(senders) do
    local address = sender.addr:lower()
    if not sender.flags.valid or not may_send_as(logins, login, address) then
      return string.format("%s may not send as %s (From header)", login, (address:gsub("[^%w@.+_=-]", "?")))
    end
  end
end

rspamd_config:register_symbol {
  name = "SUBMITTED_AS_ALLOWED",
  type = "prefilter",
  priority = priorities.high,
  -- A message without a body is one too.
  flags = "empty,nostat",
  callback = function(task)
    local login = task:get_user()
    if not login then
      return
    end
    local _, recipients = task:has_recipients("smtp")
    if (recipients or 0) > most_recipients then
      local text = "Sending limit reached: this account may write to %d recipients an hour, "
          .. "and this message has %d; nobody got it"
      task:set_pre_result("reject", string.format(text, most_recipients, recipients), "SUBMITTED_AS_ALLOWED")
      return
    end
    local logins = sender_logins()
    if not logins then
      task:set_pre_result("soft reject", "Who may send as whom cannot be read now; try again later", "SUBMITTED_AS_ALLOWED")
      return
    end
    local wrong = wrong_sender(task, logins, login:lower())
    if wrong then
      task:set_pre_result("reject", "Sender not allowed: " .. wrong, "SUBMITTED_AS_ALLOWED")
    end
  end,
}
