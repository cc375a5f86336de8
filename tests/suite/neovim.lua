-- What a user of Neovim sees of the language server: each line that is printed is one answer.
local client = vim.lsp.start_client({
  name = "snowglobe",
  cmd = { vim.env.SNOWGLOBE, "lsp", "--nixpkgs", "builtin" },
  root_dir = vim.fn.getcwd(),
})
vim.lsp.buf_attach_client(0, client)

local lines = {}
local function show(text)
  table.insert(lines, text)
end

local function ask(method, line, column)
  local params = {
    textDocument = vim.lsp.util.make_text_document_params(),
    position = { line = line - 1, character = column },
  }
  local answers = vim.lsp.buf_request_sync(0, method, params, 60000) or {}
  return (answers[client] or {}).result or {}
end

vim.wait(60000, function()
  return #vim.diagnostic.get(0) > 0
end, 50)
for _, found in ipairs(vim.diagnostic.get(0)) do
  show(("%d:%d %s"):format(found.lnum + 1, found.col + 1, found.message))
end

-- The text is changed, and not saved.
vim.api.nvim_buf_set_lines(0, 7, 8, true, { "    server.wait_for_" })
for _, item in ipairs(ask("textDocument/completion", 8, 20)) do
  if item.label == "wait_for_unit" then
    show(item.textEdit.newText)
  end
end

vim.api.nvim_buf_set_lines(0, 7, 8, true, { "    server.start()" })
show(vim.split(ask("textDocument/hover", 8, 6).contents.value, "\n")[2])

local titles = {}
for _, lens in ipairs(ask("textDocument/codeLens", 1, 0)) do
  table.insert(titles, lens.command.title)
end
show(table.concat(titles, ", "))
show(tostring(ask("textDocument/definition", 8, 6).range.start.line + 1))

io.stderr:write(table.concat(lines, "\n") .. "\n")
vim.cmd("qall!")
