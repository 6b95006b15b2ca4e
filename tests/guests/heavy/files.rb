# Works on files as Ruby's library does, and says what it sees: nothing of it depends on times, numbers of files or
# orders of listings.
require 'fileutils'
require 'json'
require 'tempfile'
require 'find'

def say(what)
  puts "#{what}: #{yield.inspect}"
rescue SystemCallError => error
  puts "#{what}: #{error.class}"
end

puts File.read('/etc/motd')
FileUtils.mkdir_p('/work/a/b/c')
say('again') { Dir.mkdir('/work/a') }
say('in nothing') { Dir.mkdir('/work/none/x') }
100.times { |n| File.write("/work/a/b/file#{n}", 'x' * n) }
say('glob') { Dir.glob('/work/**/file9*').sort }
say('size') { Find.find('/work').sum { |path| File.file?(path) ? File.size(path) : 0 } }
say('full') { Dir.rmdir('/work/a/b') }
FileUtils.cp_r('/work/a', '/work/copy')
FileUtils.mv('/work/a/b', '/work/moved')
FileUtils.rm_r('/work/copy')
say('children') { Dir.children('/work').sort }

File.symlink('moved/file7', '/work/link')
File.symlink('nowhere', '/work/dangling')
say('link') { [File.readlink('/work/link'), File.size('/work/link'), File.lstat('/work/link').symlink?] }
say('dangling') { File.read('/work/dangling') }
say('real') { File.realpath('/work/link') }
File.link('/work/moved/file7', '/work/hard')
say('same') { File.identical?('/work/hard', '/work/link') }
say('rename') { File.rename('/work/hard', '/work/moved/file8') }
say('over a directory') { File.rename('/work/moved/file9', '/work/a') }

File.open('/work/data', 'w+') do |file|
  1000.times { |n| file.puts "line #{n}" }
  file.seek(5000, IO::SEEK_CUR)
  file.write('end')
  file.rewind
  say('lines') { file.each_line.count }
  file.truncate(10)
  say('size') { file.size }
  File.unlink('/work/data')
  file.rewind
  say('read') { file.read }
end
File.open('/work/log', 'a') { |file| 5.times { |n| file.print n } }
say('log') { IO.read('/work/log') }
say('part') { IO.binread('/work/log', 2, 1) }
File.utime(Time.at(1_000_000_000), Time.at(1_000_000_001), '/work/log')
say('times') { [File.atime('/work/log').to_i, File.mtime('/work/log').to_i] }
%w[/none /etc /etc/motd/x /../etc/motd].each { |path| say(path) { File.read(path) } }
Tempfile.create('x', '/tmp') { |file| say('temporary') { file.write('abc') } }
File.binwrite('/work/store', Marshal.dump({ 'Ruby' => [3, 4.5, nil] }))
say('store') { File.open('/work/store', 'rb') { |file| Marshal.load(file) } }
File.write('/work/json', JSON.pretty_generate(Dir.children('/work').sort))
