// Builds what the pages load: mongo-express publishes its scripts and styles on npm, but not the bundles made of them.
import fs from 'node:fs';
import path from 'node:path';
import webpack from 'webpack';

const home = path.resolve('node_modules/mongo-express');
const scripts = path.join(home, 'lib/scripts');
const build = path.join(home, 'build');

// jQuery and Bootstrap must be one instance on a page, so every bundle takes them from `vendor`.
const script = (name, ...shared) => ({ import: path.join(scripts, `${name}.js`), dependOn: ['vendor', ...shared] });
const entry = {
  vendor: path.join(scripts, 'vendor.js'),
  codemirror: script('editor'),
  collection: script('collection', 'codemirror'),
  database: script('database'),
  document: script('document', 'codemirror'),
  gridfs: script('gridfs'),
  index: script('index'),
  login: script('login'),
};

const stats = await new Promise((resolve, reject) => {
  webpack({
    mode: 'production',
    context: home,
    entry,
    output: { path: build, filename: '[name].js' },
    module: { rules: [{ test: /\.css$/, use: ['style-loader', 'css-loader'] }] },
    resolveLoader: { modules: [path.resolve('node_modules')] },
    performance: { hints: false },
  }, (error, result) => (error ? reject(error) : resolve(result)));
});
console.log(stats.toString({ assets: true, modules: false }));
if (stats.hasErrors()) {
  process.exit(1);
}

// The names by which the pages ask for them.
const names = Object.keys(entry).map((name) => [name, { js: `public/${name}.js` }]);
fs.writeFileSync(path.join(home, 'build-assets.json'), JSON.stringify(Object.fromEntries(names)));
fs.cpSync(path.join(home, 'public/stylesheets'), path.join(build, 'css'), { recursive: true });
fs.cpSync(path.join(home, 'public/images'), path.join(build, 'img'), { recursive: true });
